//! The configuration of the registry client, as the arguments say it.

use std::sync::Arc;

use super::{
    args::{ConnectionArgs, RegistryArgs},
    exit::CliError,
    output::Output,
    pauses::tell_pauses,
    prompt,
};
use crate::registry::{
    ClientCertificate, ClientConfig, Credential, CredentialConfig, ProxyUse, Secret,
};

impl ConnectionArgs {
    /// What these arguments say, and nothing about who asks.
    pub fn client_config(&self, proxy: ProxyUse) -> ClientConfig {
        ClientConfig {
            ca_files: self.ca_file.clone(),
            resolve: self.resolve.clone(),
            plain_http: self.plain_http.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify.clone(),
            proxy,
            retries: self.retries,
            retry_budget: self.retry_budget,
            stall_timeout: self.stall_timeout,
            credentials: CredentialConfig {
                authfile: self.authfile.clone(),
                ..CredentialConfig::default()
            },
            ..ClientConfig::default()
        }
    }

    /// What `host` is shown of this client.
    pub fn client_certificate(&self, host: &str) -> Option<ClientCertificate> {
        // The grammar has them go together.
        let (certificate, key) = self.client_cert.clone().zip(self.client_key.clone())?;
        Some(ClientCertificate {
            host: host.to_owned(),
            certificate,
            key,
        })
    }
}

impl RegistryArgs {
    /// Refuses a password without a name to go with it. (The other way round is in the grammar.)
    ///
    /// # Errors
    /// With exit code 2.
    pub fn check(&self) -> Result<(), CliError> {
        if self.password_stdin && self.username.is_none() {
            return Err(CliError::usage("--password-stdin needs --username")
                .hint("--username NAME --password-stdin, or: bundle login HOST"));
        }
        Ok(())
    }

    /// The configuration for a transfer with these hosts. Reads the password from standard input
    /// if one was promised: it belongs to the one host, and goes to no other. So does a client
    /// certificate.
    ///
    /// # Errors
    /// With exit code 2 when there is a user name or a client certificate and not exactly one host,
    /// or no password.
    pub fn client_config<'a>(
        &self,
        proxy: ProxyUse,
        hosts: impl IntoIterator<Item = &'a str>,
        output: &Arc<Output>,
    ) -> Result<ClientConfig, CliError> {
        self.check()?;
        let mut config = self.connection.client_config(proxy);
        config.rate_limit = self.rate_limit;
        config.on_pause = Some(tell_pauses(output));
        let hosts: Vec<&str> = hosts.into_iter().collect();
        if self.connection.client_cert.is_some() {
            let several = "certs.d/HOST[:PORT]/NAME.cert and NAME.key in ~/.config/containers or \
                           /etc/containers, for each registry";
            let host = only("--client-cert", &hosts, several)?;
            let certificate = self.connection.client_certificate(&host);
            config.client_certificates.extend(certificate);
        }
        if let Some(username) = &self.username {
            let several = "bundle login HOST, for each registry that wants credentials";
            let host = only("--username", &hosts, several)?;
            let password = prompt::password_from_stdin()?;
            config.credentials.explicit = Some((host, basic(username, &password)));
        }
        Ok(config)
    }
}

/// The one host that an option can be for.
fn only(option: &str, hosts: &[&str], several: &str) -> Result<String, CliError> {
    match hosts {
        [host] => Ok((*host).to_owned()),
        [] => Err(CliError::usage(format!(
            "{option}, but no registry is asked for anything"
        ))),
        hosts => Err(
            CliError::usage(format!("{option} does not say which registry it is for"))
                .details(hosts)
                .hint(several),
        ),
    }
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{args::Command, tests::parsed};

    fn output() -> Arc<Output> {
        Arc::new(Output::of_process(crate::cli::output::Verbosity::Quiet))
    }

    fn args(options: &str) -> RegistryArgs {
        match parsed(&format!("create --unsigned{options}")).command {
            Command::Create(args) => args.registry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_client_is_told_what_the_arguments_say() {
        let args = args(
            " --ca-file a.pem --resolve B.c:1=::1 --plain-http A.b:1 --insecure-skip-tls-verify c.d \
             --authfile f --retries 9 --retry-budget 2m --stall-timeout 5 --rate-limit 1M"
                .split_whitespace()
                .fold(String::new(), |all, word| format!("{all} {word}"))
                .as_str(),
        );
        let config = args
            .client_config(ProxyUse::None, ["x", "y"], &output())
            .unwrap();
        assert_eq!(config.ca_files, [std::path::PathBuf::from("a.pem")]);
        assert_eq!(config.resolve, ["b.c:1=::1".parse().unwrap()]);
        assert_eq!(config.plain_http, ["a.b:1"]);
        assert_eq!(config.insecure_skip_tls_verify, ["c.d"]);
        assert_eq!(config.credentials.authfile.unwrap().as_os_str(), "f");
        assert_eq!(config.retries, 9);
        assert_eq!(config.retry_budget.as_secs(), 120);
        assert_eq!(config.stall_timeout.as_secs(), 5);
        assert_eq!(config.rate_limit.unwrap().get(), 1 << 20);
        assert_eq!(config.proxy, ProxyUse::None);
        assert!(config.credentials.explicit.is_none());
    }

    #[test]
    fn q83_a_client_certificate_is_for_one_host() {
        let named = args(" --client-cert c.pem --client-key k.pem");
        for hosts in [&[][..], &["a", "b"]] {
            let error = named
                .client_config(ProxyUse::None, hosts.iter().copied(), &output())
                .unwrap_err();
            assert_eq!(error.exit, crate::cli::exit::Exit::Usage);
            assert!(error.message.contains("--client-cert"), "{error:?}");
        }
        let config = named
            .client_config(ProxyUse::None, ["a.b:1"], &output())
            .unwrap();
        let expected = ClientCertificate {
            host: "a.b:1".to_owned(),
            certificate: "c.pem".into(),
            key: "k.pem".into(),
        };
        assert_eq!(config.client_certificates, [expected]);
    }

    #[test]
    fn a_password_is_for_one_host() {
        let named = args(" --username u --password-stdin");
        for hosts in [&[][..], &["a", "b"]] {
            let error = named
                .client_config(ProxyUse::None, hosts.iter().copied(), &output())
                .unwrap_err();
            assert_eq!(error.exit, crate::cli::exit::Exit::Usage);
        }
        let config = format!("{:?}", basic("u", "secret"));
        assert!(!config.contains("secret"), "{config}");
    }
}
