//! What runs in the place of `helm` gets no further than the walls around it.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use sneakernet::helm::render::{
    Helm, HelmError, Limit, Rendering,
    sandbox::{Limits, Sandbox},
};

use crate::support::{
    background::block_on,
    helm::{ChartFiles, FakeHelm, HELMS, helm_path},
    tools::{bundle_path, require, wait_until},
};

/// Far more than what is waited for takes, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn find(program: &Path, limits: Limits) -> Helm {
    let sandbox = Sandbox::reexec(bundle_path()).with_limits(limits);
    block_on(Helm::find_in(Some(program), sandbox)).unwrap()
}

fn found(fake: &FakeHelm, launcher: &str) -> Result<Helm, HelmError> {
    block_on(Helm::find_in(
        Some(&fake.program()),
        Sandbox::reexec(launcher),
    ))
}

fn rendering(archive: &[u8]) -> Rendering<'_> {
    Rendering {
        archive,
        values: &[],
        release: "market",
        namespace: "stalls",
        kube_version: None,
        api_versions: &[],
        tests: false,
    }
}

/// What comes of a script in the place of `helm`.
fn outcome(fake: &FakeHelm, limits: Limits) -> Result<String, HelmError> {
    block_on(find(&fake.program(), limits).template(&rendering(b"chart")))
}

fn is_running(pid: &str) -> bool {
    // One that has ended and is not yet reaped by its new parent runs no more.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with('Z'))
    })
}

#[test]
fn endless_output_is_cut_off() {
    let fake = FakeHelm::new("while :; do printf '%01000d' 0; done");
    let limits = Limits {
        output: 1 << 20,
        time: LONG,
        ..Limits::default()
    };
    let error = outcome(&fake, limits).unwrap_err();
    assert_eq!(error.to_string(), "helm printed more than 1 MiB");
}

#[test]
fn endless_messages_end_with_the_time_and_take_no_memory() {
    let fake = FakeHelm::new("while :; do printf '%01000d' 0 >&2; done");
    let limits = Limits {
        time: Duration::from_secs(2),
        ..Limits::default()
    };
    let error = outcome(&fake, limits).unwrap_err();
    assert!(
        matches!(error, HelmError::Exceeded(Limit::Time(_))),
        "{error}"
    );
}

#[test]
fn one_that_does_not_end_is_ended_with_all_that_it_started() {
    let fake = FakeHelm::new(
        "sleep 1000 & echo $! >$here/child; echo $$ >$here/self; pwd >$here/workspace; wait",
    );
    let limits = Limits {
        time: Duration::from_secs(2),
        ..Limits::default()
    };
    let error = outcome(&fake, limits).unwrap_err();
    assert_eq!(error.to_string(), "helm was not done after 2 s");
    for file in ["child", "self"] {
        let pid = fake.wrote(file).unwrap();
        wait_until("ended", LONG, || !is_running(&pid));
    }
    assert!(!Path::new(&fake.wrote("workspace").unwrap()).exists());
}

#[test]
fn what_is_left_behind_is_ended_and_does_not_hold_up() {
    let fake = FakeHelm::new("sleep 1000 & echo $! >$here/child; echo 'a: 1'");
    let started = Instant::now();
    assert_eq!(outcome(&fake, Limits::default()).unwrap(), "a: 1\n");
    assert!(started.elapsed() < LONG);
    let pid = fake.wrote("child").unwrap();
    wait_until("ended", LONG, || !is_running(&pid));
}

#[test]
fn giving_up_waiting_ends_it_and_removes_its_files() {
    let fake = FakeHelm::new("pwd >$here/workspace; echo $$ >$here/self; sleep 1000");
    let helm = find(&fake.program(), Limits::default());
    let rendering = rendering(b"chart");
    let wait = async {
        tokio::select! {
            _ = helm.template(&rendering) => panic!("it does not end"),
            () = async {
                while fake.wrote("self").is_none() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            } => {}
        }
    };
    block_on(wait);
    let (pid, workspace) = (
        fake.wrote("self").unwrap(),
        fake.wrote("workspace").unwrap(),
    );
    wait_until("ended", LONG, || !is_running(&pid));
    wait_until("removed", LONG, || !Path::new(&workspace).exists());
}

#[test]
fn nothing_of_the_callers_environment_is_visible() {
    // Set by cargo for this process.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let fake = FakeHelm::new(
        "/usr/bin/env -0 | /usr/bin/tr '\\0\\n' '\\n ' | /usr/bin/cut -d= -f1; echo ---;
         /usr/bin/find . $HOME $HELM_PLUGINS -type f; readlink /proc/self/fd/0; tty; umask",
    );
    let text = outcome(&fake, Limits::default()).unwrap();
    let (variables, rest) = text.split_once("---\n").unwrap();
    for variable in variables.lines() {
        let set_by_bash = ["PWD", "SHLVL", "_", "OLDPWD"];
        let ours = [
            "HOME",
            "TMPDIR",
            "KUBECONFIG",
            "DOCKER_CONFIG",
            "LC_ALL",
            "TZ",
            "NO_COLOR",
        ];
        let family = ["HELM_", "XDG_", "GO"]
            .iter()
            .any(|start| variable.starts_with(start));
        let proxy = variable.to_ascii_lowercase().ends_with("_proxy");
        assert!(
            family || proxy || ours.contains(&variable) || set_by_bash.contains(&variable),
            "{variable}"
        );
    }
    // Neither a plugin nor a setting, only the chart.
    assert_eq!(rest, "./chart.tgz\n/dev/null\nnot a tty\n0077\n");
}

#[test]
fn the_homes_are_empty_directories_of_this_run() {
    let fake = FakeHelm::new(
        "for dir in $HOME $XDG_CONFIG_HOME $HELM_CACHE_HOME $HELM_CONFIG_HOME $HELM_DATA_HOME \
         $HELM_PLUGINS $TMPDIR; do [ -d \"$dir\" ] && case $dir in $PWD/*) echo inside;; *) echo \"$dir\";; esac; done",
    );
    let text = outcome(&fake, Limits::default()).unwrap();
    assert_eq!(text, "inside\n".repeat(7));
}

#[test]
fn files_are_limited_in_size_and_crashes_leave_none() {
    let fake = FakeHelm::new(
        "head -c 4194304 /dev/zero >big; ls -l big | cut -d' ' -f5; ulimit -c; ulimit -Hn",
    );
    let limits = Limits {
        file: 1 << 20,
        ..Limits::default()
    };
    assert_eq!(outcome(&fake, limits).unwrap(), "1048576\n0\n256\n");
}

#[test]
fn no_privileges_are_to_be_had() {
    let fake = FakeHelm::new("grep -E '^(NoNewPrivs|CapEff)' /proc/self/status");
    let helm = find(&fake.program(), Limits::default());
    let text = block_on(helm.template(&rendering(b"chart"))).unwrap();
    assert!(text.contains("NoNewPrivs:\t1\n"), "{text}");
    if helm.is_offline() {
        assert!(text.contains("CapEff:\t0000000000000000\n"), "{text}");
    }
}

#[test]
fn the_network_is_out_of_reach() {
    require!("root");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&1 && echo connected; true");
    let fake = FakeHelm::new(&connect);
    let helm = find(&fake.program(), Limits::default());
    assert!(helm.is_offline());
    let text = block_on(helm.template(&rendering(b"chart"))).unwrap();
    assert!(text.contains("Network is unreachable"), "{text}");
    assert!(listener.accept().is_err());
}

#[test]
fn a_schema_cannot_make_helm_fetch_anything() {
    require!("root", "helm3", "helm4");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let schema = format!(r#"{{"$ref": "http://{address}/schema.json"}}"#);
    let chart = ChartFiles::new("shop", "1.0.0")
        .file("values.schema.json", &schema)
        .file("templates/x.yaml", "a: 1\n");
    for name in HELMS {
        let helm = find(&helm_path(name), Limits::default());
        let error = block_on(helm.template(&rendering(&chart.archive()))).unwrap_err();
        assert!(matches!(error, HelmError::DoesNotRender { .. }), "{error}");
        assert!(listener.accept().is_err(), "{name} has connected");
    }
}

#[test]
fn a_chart_that_eats_memory_is_stopped() {
    require!("helm3", "helm4");
    let bomb = "{{ range untilStep 0 100000000 1 }}{{ repeat 1000000 \"x\" }}{{ end }}";
    let chart = ChartFiles::new("shop", "1.0.0").file("templates/x.yaml", bomb);
    let limits = Limits {
        memory: 256 << 20,
        ..Limits::default()
    };
    for name in HELMS {
        let helm = find(&helm_path(name), limits);
        let error = block_on(helm.template(&rendering(&chart.archive()))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "helm needs more than 256 MiB of memory",
            "{name}"
        );
    }
}

#[test]
fn a_chart_that_does_not_come_to_an_end_is_stopped() {
    require!("helm3", "helm4");
    let endless = "{{ range until 1000000 }}{{ range until 1000000 }}{{ end }}{{ end }}";
    let chart = ChartFiles::new("shop", "1.0.0").file("templates/x.yaml", endless);
    let limits = Limits {
        cpu: 1,
        ..Limits::default()
    };
    for name in HELMS {
        let helm = find(&helm_path(name), limits);
        let error = block_on(helm.template(&rendering(&chart.archive()))).unwrap_err();
        assert!(
            matches!(error, HelmError::Exceeded(Limit::Cpu(1))),
            "{name}: {error}"
        );
    }
}

#[test]
fn templates_see_no_environment_and_no_names_of_hosts() {
    require!("helm3", "helm4");
    let env = ChartFiles::new("shop", "1.0.0").file("templates/x.yaml", "a: {{ env \"HOME\" }}\n");
    let host = ChartFiles::new("shop", "1.0.0").file(
        "templates/x.yaml",
        "a: {{ getHostByName \"localhost\" | quote }}\n",
    );
    for name in HELMS {
        let helm = find(&helm_path(name), Limits::default());
        let error = block_on(helm.template(&rendering(&env.archive()))).unwrap_err();
        assert!(
            error.to_string().contains("function \"env\" not defined"),
            "{error}"
        );
        let text = block_on(helm.template(&rendering(&host.archive()))).unwrap();
        assert!(text.contains("a: \"\"\n"), "{name}: {text}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let fake = FakeHelm::new("printf '\\377'");
    let error = outcome(&fake, Limits::default()).unwrap_err();
    assert!(matches!(error, HelmError::NotText { .. }), "{error}");
}

#[test]
fn one_that_crashes_is_told_from_one_that_refuses() {
    let fake = FakeHelm::new("kill -SEGV $$");
    let error = outcome(&fake, Limits::default()).unwrap_err();
    assert!(matches!(error, HelmError::Killed { signal: 11 }), "{error}");
    let fake = FakeHelm::new("echo 'Error: no' >&2; exit 1");
    let error = outcome(&fake, Limits::default()).unwrap_err();
    assert!(matches!(error, HelmError::DoesNotRender { said, .. } if said == "no"));
}

#[test]
fn a_program_that_cannot_be_started_is_told_so() {
    let fake = FakeHelm::new("");
    std::fs::write(fake.program(), "#!/nonexistent/interpreter\n").unwrap();
    let found = found(&fake, bundle_path());
    let error = found.unwrap_err();
    assert!(matches!(error, HelmError::SandboxFailed { .. }), "{error}");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn a_launcher_that_does_not_know_what_is_wanted_is_no_sandbox() {
    let fake = FakeHelm::new("");
    // It prints what it is given, and ends well.
    for launcher in ["/bin/true", "/bin/echo"] {
        let found = found(&fake, launcher);
        let error = found.unwrap_err();
        assert!(matches!(error, HelmError::NoSandbox), "{launcher}: {error}");
    }
    let found = found(&fake, "/nonexistent");
    assert!(matches!(found, Err(HelmError::SandboxFailed { .. })));
}
