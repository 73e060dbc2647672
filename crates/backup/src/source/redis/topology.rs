//! What servers say about themselves and each other: INFO, Sentinel, Cluster. Pure.

use std::collections::BTreeMap;

use super::client::Address;
use super::resp::Value;

/// The slots of a cluster.
const SLOTS: u32 = 16_384;

/// The lines of INFO.
pub(super) fn info(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The keys of each database, from INFO keyspace.
pub(super) fn keyspace(info: &BTreeMap<String, String>) -> BTreeMap<u64, u64> {
    info.iter()
        .filter_map(|(name, value)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let keys = value
                .split(',')
                .find_map(|field| field.strip_prefix("keys="))?;
            Some((number, keys.parse().ok()?))
        })
        .collect()
}

/// A list of names and values in turn, as a map.
pub(super) fn pairs(value: &Value) -> BTreeMap<String, String> {
    value
        .items()
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].text()?, pair[1].text()?)))
        .collect()
}

fn address(host: &str, port: &str) -> Option<Address> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && host != "?").then(|| Address::Tcp(host.to_owned(), port))
}

/// The answer to `SENTINEL GET-MASTER-ADDR-BY-NAME`.
pub(super) fn master(answer: &Value) -> Option<Address> {
    let [host, port] = answer.items() else {
        return None;
    };
    address(&host.text()?, &port.text()?)
}

/// The names in the answer to `SENTINEL MASTERS`.
pub(super) fn groups(answer: &Value) -> Vec<String> {
    answer
        .items()
        .iter()
        .filter_map(|group| pairs(group).remove("name"))
        .collect()
}

/// A replica that is well, from the answer to `SENTINEL REPLICAS`: the one that is farthest.
pub(super) fn replica(answer: &Value) -> Option<Address> {
    answer
        .items()
        .iter()
        .map(pairs)
        .filter(|replica| {
            let flags = replica.get("flags").map_or("", String::as_str);
            flags
                .split(',')
                .all(|flag| !flag.ends_with("down") && flag != "disconnected")
                && replica
                    .get("master-link-status")
                    .is_some_and(|link| link == "ok")
        })
        .filter_map(|replica| {
            let offset: u64 = replica.get("slave-repl-offset")?.parse().ok()?;
            Some((offset, address(replica.get("ip")?, replica.get("port")?)?))
        })
        .max_by_key(|(offset, _)| *offset)
        .map(|(_, address)| address)
}

/// One part of a cluster: its slots and who serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) node: String,
    pub(super) address: Address,
    /// First and last of each run, in order.
    pub(super) slots: Vec<(u16, u16)>,
}

/// The answer to `CLUSTER SLOTS`, which was got from `via`.
pub(super) fn shards(answer: &Value, via: &Address) -> Option<Vec<Shard>> {
    let mut shards: BTreeMap<String, Shard> = BTreeMap::new();
    for run in answer.items() {
        let [Value::Integer(first), Value::Integer(last), master, ..] = run.items() else {
            return None;
        };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        if first > last || u32::from(last) >= SLOTS {
            return None;
        }
        let [host, Value::Integer(port), node, ..] = master.items() else {
            return None;
        };
        // A node that does not know its own address leaves it out: it is the one we asked.
        let host = host.text().unwrap_or_default();
        let address = match (address(&host, &port.to_string()), via) {
            (Some(address), _) => address,
            (None, Address::Tcp(via, _)) => Address::Tcp(via.clone(), u16::try_from(*port).ok()?),
            (None, Address::Unix(_)) => via.clone(),
        };
        let node = node.text()?;
        shards
            .entry(node.clone())
            .or_insert_with(|| Shard {
                node,
                address,
                slots: Vec::new(),
            })
            .slots
            .push((first, last));
    }
    let mut shards: Vec<Shard> = shards.into_values().collect();
    for shard in &mut shards {
        shard.slots.sort_unstable();
    }
    shards.sort_by(|a, b| a.slots.cmp(&b.slots));
    Some(shards)
}

/// The slots that nobody serves.
pub(super) fn unserved(shards: &[Shard]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = shards
        .iter()
        .flat_map(|shard| &shard.slots)
        .map(|(first, last)| (u32::from(*first), u32::from(*last)))
        .collect();
    runs.sort_unstable();
    runs.push((SLOTS, SLOTS));
    let mut next = 0;
    let mut missing = Vec::new();
    for (first, last) in runs {
        if first > next {
            missing.push((next, first - 1));
        }
        next = next.max(last + 1);
    }
    missing
}

/// Where a shard lies in the snapshot. Its first slots name it, so that it keeps its name when a
/// replica takes over.
pub(super) fn directory(shard: &Shard) -> String {
    let (first, last) = shard.slots.first().copied().unwrap_or_default();
    format!("shard-{first:05}-{last:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    fn flat(text: &str) -> Value {
        Value::Array(text.split(' ').map(bulk).collect())
    }

    #[test]
    fn info_is_read() {
        let info = info(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:ab:c\r\n\r\n# Keyspace\r\ndb0:keys=4,expires=1,avg_ttl=0\r\ndb12:keys=9,expires=0\r\n",
        );
        assert_eq!(info["redis_version"], "7.0.15");
        assert_eq!(info["run_id"], "ab:c");
        assert_eq!(keyspace(&info), BTreeMap::from([(0, 4), (12, 9)]));
    }

    #[test]
    fn a_sentinel_names_the_master_and_a_replica_that_is_well() {
        assert_eq!(
            master(&flat("10.0.0.1 6379")),
            Some(Address::Tcp("10.0.0.1".into(), 6379))
        );
        assert_eq!(master(&Value::Null), None);
        let replicas = Value::Array(vec![
            flat("ip a port 1 flags slave,s_down master-link-status ok slave-repl-offset 99"),
            flat("ip b port 2 flags slave master-link-status err slave-repl-offset 98"),
            flat("ip c port 3 flags slave master-link-status ok slave-repl-offset 5"),
            flat("ip d port 4 flags slave master-link-status ok slave-repl-offset 7"),
            flat("ip e port 0 flags slave master-link-status ok slave-repl-offset 50"),
        ]);
        assert_eq!(replica(&replicas), Some(Address::Tcp("d".into(), 4)));
        let masters = Value::Array(vec![
            flat("name shop ip a port 1"),
            flat("name web ip b port 2"),
        ]);
        assert_eq!(groups(&masters), ["shop", "web"]);
    }

    fn run(first: i64, last: i64, host: &str, port: i64, node: &str) -> Value {
        let node = vec![
            bulk(host),
            Value::Integer(port),
            bulk(node),
            Value::Array(Vec::new()),
        ];
        Value::Array(vec![
            Value::Integer(first),
            Value::Integer(last),
            Value::Array(node),
        ])
    }

    #[test]
    fn slots_are_gathered_by_node() {
        let via = Address::Tcp("here".into(), 7000);
        let answer = Value::Array(vec![
            run(10_923, 16_383, "c", 7002, "ccc"),
            run(0, 99, "", 7000, "aaa"),
            run(101, 5460, "", 7000, "aaa"),
            run(5461, 10_000, "b", 7001, "bbb"),
        ]);
        let found = shards(&answer, &via).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].address, via);
        assert_eq!(found[0].slots, [(0, 99), (101, 5460)]);
        assert_eq!(directory(&found[0]), "shard-00000-00099");
        assert_eq!(unserved(&found), [(100, 100), (10_001, 10_922)]);
        assert_eq!(unserved(&[]), [(0, 16_383)]);
        for strange in [
            run(5, 4, "a", 1, "x"),
            run(0, 16_384, "a", 1, "x"),
            run(-1, 4, "a", 1, "x"),
            run(0, 4, "a", 70_000, "x"),
            Value::Null,
        ] {
            // A port out of range has no address: that of the one asked is no way out.
            let answer = Value::Array(vec![strange]);
            assert_eq!(shards(&answer, &Address::Tcp("here".into(), 1)), None);
        }
    }
}
