{{- /*
An image's place: below `registry` and `imagePath` where those are set, else where Tigera has it.
*/ -}}
{{- define "calico-cloud.image" -}}
{{- $registry := .installer.registry | default .registry -}}
{{- $path := .installer.imagePath | default .path -}}
{{- printf "%s%s/%s:%s" $registry $path .image .tag -}}
{{- end -}}

{{- define "calico-cloud.installerImage" -}}
{{- $tag := .Values.installer.tag | default (.Chart.Version | replace "+" "-g") -}}
{{- $place := dict "installer" .Values.installer "image" .Values.installer.image "tag" $tag -}}
{{- $tigera := dict "registry" "us-docker.pkg.dev/tigera-prod-01/" "path" "calico-cloud-public" -}}
{{- include "calico-cloud.image" (merge $place $tigera) -}}
{{- end -}}

{{- define "calico-cloud.coreImage" -}}
{{- $place := dict "installer" .Values.installer "image" "cc-core" "tag" .Values.core.version -}}
{{- include "calico-cloud.image" (merge $place (dict "registry" "quay.io/" "path" "tigera")) -}}
{{- end -}}

{{- define "calico-cloud.pullSecrets" -}}
{{- with .Values.imagePullSecrets.name }}
imagePullSecrets:
  - name: {{ . }}
{{- end }}
{{- end -}}
