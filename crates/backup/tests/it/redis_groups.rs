//! Redis in groups: replicas, Sentinel, Cluster; and TLS.

use std::fs;
use std::process::Command;

use mainstay_backup::source::redis::RedisShard;
use mainstay_backup::source::redis::resp::Value;
use mainstay_backup::{ErrorKind, Outcome, Target};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::bench::{Bench, quiet, request, restore, run, run_ok};
use crate::redis::{facts, source};
use crate::redis_server::{Server, free_port, is_here, wait_for};

#[test]
fn a_sentinel_leads_to_the_master_or_a_replica() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let master = Server::start(&bench.path("master"), &[]);
    master.cli().line("SET a 1");
    let of = format!("127.0.0.1 {}", master.port);
    let replica = Server::start(&bench.path("replica"), &["--replicaof", &of]);
    wait_for("the replica is attached", || {
        (replica.cli().info("master_link_status") == "up").then_some(())
    });
    let port = free_port();
    let config = bench.path("sentinel.conf");
    fs::write(
        &config,
        format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {} 1\n",
            master.port
        ),
    )
    .unwrap();
    let _sentinel = Server::sentinel(&config, port);
    let backups = bench.ready(&source(port, ""));
    wait_for("the Sentinel answers", || {
        (run(&backups, "redis").outcome == Outcome::Ok).then_some(())
    });
    let found = facts(&backups);
    assert_eq!(
        found.shards[0].address,
        format!("127.0.0.1:{}", master.port)
    );
    assert_eq!(found.shards[0].role, "master");
    let chosen = bench.backups(&source(port, ", group = \"shop\", replica = true"));
    bench.advance(1);
    wait_for("the Sentinel knows the replica", || {
        (run(&chosen, "redis").outcome == Outcome::Ok).then_some(())
    });
    let found = facts(&chosen);
    assert_eq!(
        found.shards[0].address,
        format!("127.0.0.1:{}", replica.port)
    );
    assert_eq!(found.shards[0].role, "slave");
    assert_eq!(found.shards[0].keys(), 1);
    let other = bench.backups(&source(port, ", group = \"web\""));
    let report = run(&other, "redis");
    let error = report.repositories[0].error.as_ref().unwrap();
    assert!(
        error.help().unwrap().contains("it knows: shop"),
        "{error:?}"
    );
}

#[test]
fn nothing_is_restored_under_replicas() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let master = Server::start(&bench.path("data"), &[]);
    master.cli().line("SET a 1");
    let config = source(master.port, ", data = \"@/data\"");
    let backups = bench.ready(&config);
    run_ok(&backups, "redis");
    let of = format!("127.0.0.1 {}", master.port);
    let replica = Server::start(&bench.path("replica"), &["--replicaof", &of]);
    wait_for("the replica is attached", || {
        (master.cli().info("connected_slaves") == "1").then_some(())
    });
    let in_place = request("redis", Target::InPlace);
    let error = backups.plan_restore(&in_place, &quiet()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(
        error.to_string().contains("1 replica is attached"),
        "{error}"
    );
    // Nor over a replica, which would take its master's data again.
    let over = bench.backups(&source(replica.port, ", data = \"@/replica\""));
    run_ok(&over, "redis");
    let error = over.plan_restore(&in_place, &quiet()).unwrap_err();
    assert!(
        error.to_string().contains("is a replica of 127.0.0.1"),
        "{error}"
    );
    // Nor into a directory that is another's.
    let wrong = bench.backups(&source(replica.port, ", data = \"@/wrong\""));
    replica.cli().line("REPLICAOF NO ONE");
    let error = wrong.plan_restore(&in_place, &quiet()).unwrap_err();
    assert!(error.to_string().contains("keeps its data in"), "{error}");
    // Without a word about the directory there is nothing to restore in place.
    let without = bench.backups(&source(replica.port, ""));
    let error = without.plan_restore(&in_place, &quiet()).unwrap_err();
    assert!(
        error.help().unwrap().contains("CONFIG GET dir"),
        "{error:?}"
    );
}

#[test]
fn a_cluster_is_pulled_shard_by_shard() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let node = |name: &str| {
        let bus = free_port().to_string();
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            "15000",
        ];
        Server::start(&bench.path(name), &options)
    };
    let nodes = ["one", "two", "three"].map(node);
    let addresses = nodes
        .each_ref()
        .map(|node| format!("127.0.0.1:{}", node.port));
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .arg("--cluster-yes")
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    for node in &nodes {
        wait_for("the cluster is well", || {
            let about = node.cli().line("CLUSTER INFO").text().unwrap();
            about.contains("cluster_state:ok").then_some(())
        });
    }
    let mut total = 0;
    for (number, node) in nodes.iter().enumerate() {
        let mut cli = node.cli();
        for key in 0..300 {
            let key = format!("key:{number}:{key}");
            // Those of other nodes are refused.
            total += u64::from(cli.raw(&["SET", &key, "x"]) == Value::Simple("OK".into()));
        }
    }
    let backups = bench.ready(&source(nodes[1].port, ""));
    run_ok(&backups, "redis");
    let found = facts(&backups);
    assert!(found.cluster);
    let names: Vec<&str> = found
        .shards
        .iter()
        .map(|shard| shard.directory.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "shard-00000-05460",
            "shard-05461-10922",
            "shard-10923-16383"
        ]
    );
    assert_eq!(
        found.shards.iter().map(RedisShard::keys).sum::<u64>(),
        total
    );
    assert_eq!(found.shards[0].slots, [(0, 5460)]);
    let verified = backups
        .verify(&[], mainstay_backup::Depth::Structure, &quiet())
        .unwrap();
    assert!(
        verified.is_sound() && verified.repositories[0].proofs.len() == 1,
        "{verified:#?}"
    );
    drop(nodes);
    let into = bench.path("into");
    restore(&backups, &request("redis", Target::Into(into.clone()))).unwrap();
    let mut again = 0;
    for shard in &found.shards {
        let bus = free_port().to_string();
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--appendonly",
            "yes",
        ];
        let node = Server::start(&into.join(&shard.directory), &options);
        let mut cli = node.cli();
        let keys = cli.number("DBSIZE");
        assert_eq!(u64::try_from(keys).unwrap(), shard.keys());
        again += shard.keys();
    }
    assert_eq!(again, total);
}

#[test]
fn tls_with_a_certificate_of_our_own() {
    if !is_here() {
        return;
    }
    let bench = Bench::new();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(bench.path("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for name in ["localhost", "backup"] {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
        certificate
            .distinguished_name
            .push(DnType::CommonName, name);
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        fs::write(bench.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(bench.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let path = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    let tls_port = free_port();
    let server = Server::start(
        &bench.path("data"),
        &[
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            &path("localhost.pem"),
            "--tls-key-file",
            &path("localhost.key"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
        ],
    );
    server.cli().line("DEBUG POPULATE 5000 key 1000");
    let ours = ", cert = \"@/backup.pem\", key = \"@/backup.key\"";
    let backups = bench.ready(&source(
        tls_port,
        &format!(", tls = {{ ca = \"@/ca.pem\", server_name = \"localhost\"{ours} }}"),
    ));
    run_ok(&backups, "redis");
    assert_eq!(facts(&backups).shards[0].keys(), 5000);
    for (tls, expected) in [
        (
            format!("{{ ca = \"@/ca.pem\", server_name = \"other\"{ours} }}"),
            "certificate",
        ),
        (
            "{ ca = \"@/ca.pem\", server_name = \"localhost\" }".to_owned(),
            "ertificate",
        ),
        ("{ ca = \"@/nothing.pem\" }".to_owned(), "nothing.pem"),
        ("true".to_owned(), "certificate"),
    ] {
        let report = run(
            &bench.backups(&source(tls_port, &format!(", tls = {tls}"))),
            "redis",
        );
        assert_eq!(report.outcome, Outcome::Failed, "{tls}");
        let error = report.repositories[0].error.as_ref().unwrap();
        assert!(error.to_string().contains(expected), "{tls}: {error}");
    }
}
