//! The commands of a hand-off, where the registry has a private authority and users.

use std::{process::Command, time::Duration};

use crate::support::{
    distribution::{Options, Registry},
    helm::{HELMS, HelmCli},
    netns::NetNs,
    pki::TestCa,
    shop::{Shop, chart},
    tools::{require, run, run_with},
};

const FILE: &str = "shop.bundle";

#[test]
fn the_commands_of_the_page_reach_a_registry_with_a_private_authority() {
    require!("docker-registry", "htpasswd", "helm3", "helm4", "root");
    let shop = Shop::new();
    let archive = shop.archive(&chart());
    shop.create(FILE, &["--chart", &archive]).success();
    let ca = TestCa::new();
    // To a loopback address helm would speak plain HTTP.
    let (inside, server) = (NetNs::new(), NetNs::new());
    inside.connect(&server, "10.89.0.1", "10.89.0.2");
    inside.hosts(&[("10.89.0.2", "registry.local")]);
    let options = Options::default().with_tls(&ca, &["registry.local"]);
    let options = options.with_user("robot", "s3cret");
    let _registry = Registry::start(options.inside(&server, "10.89.0.2:5000"));
    let host = "registry.local:5000";
    let run = |command: Command| run(inside.wrap(&command));
    let load = |arguments: &[&str]| {
        let to = ["load", FILE, "--allow-unsigned", "--to", host];
        run(shop.bundle(&[&to[..], arguments].concat()))
    };
    let file = ca.write_to(shop.dir());
    let file = file.to_str().unwrap();
    shop.home.log_in(&[(host, "robot", "s3cret")]);
    let arguments = [
        "--handoff",
        "handoff",
        "--ca-file",
        file,
        "--node-ca-file",
        "/etc/reg/ca.crt",
    ];
    load(&arguments).success();
    let directory = shop.dir().join("handoff");
    assert_eq!(
        std::fs::read(directory.join("ca.crt")).unwrap(),
        std::fs::read(file).unwrap()
    );
    let page = std::fs::read_to_string(directory.join("INSTALL.md")).unwrap();
    assert!(
        !page.contains("/etc/reg/ca.crt"),
        "that is for nodes: {page}"
    );
    let nodes = std::fs::read_to_string(directory.join("registries.yaml")).unwrap();
    assert!(nodes.contains("/etc/reg/ca.crt"), "{nodes}");
    let lines = |start: &str| -> Vec<String> {
        let lines = page.lines().filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    };
    for helm in HELMS {
        let cli = HelmCli::new(helm);
        for command in lines("helm registry login") {
            let mut login = cli.command();
            login
                .args(command.split(' ').skip(1))
                .current_dir(&directory);
            login.args(["-u", "robot", "-p", "s3cret"]);
            run(login).success();
        }
        let commands = lines("helm upgrade --install");
        assert_eq!(commands.len(), 2, "{commands:?}");
        for command in commands {
            let command = command.replace(" --create-namespace", "");
            let mut template = cli.command();
            template.arg("template").args(command.split(' ').skip(3));
            template.current_dir(&directory);
            let rendered = run(template).success().text();
            assert!(
                rendered.contains(&format!("{host}/shop/web:1.0")),
                "{helm}: {rendered}"
            );
        }
    }
    for command in lines("bundle login") {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let mut login = shop.bundle(&words);
        login.args(["--username", "robot", "--password-stdin"]);
        login.current_dir(&directory);
        let input = b"s3cret\n".to_vec();
        let patience = Duration::from_secs(60);
        run_with(inside.wrap(&login), input, patience).success();
        assert!(directory.join("auth.json").exists());
    }
    // What the commands leave behind is nothing that another load takes away.
    load(&arguments).exits(2);
    std::fs::remove_file(directory.join("auth.json")).unwrap();
    load(&arguments).success();
}
