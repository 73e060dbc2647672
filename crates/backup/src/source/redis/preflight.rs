//! Whether a server could be pulled from now, and what stands in the way.

use mainstay_base::Size;

use super::client::{Client, Dial, Trouble};
use super::resp::Value;
use super::{Redis, Server, info, topology};
use crate::preflight::Check;

/// A buffer for replicas that is smaller than this overflows when much is written during a pull.
const BUFFER: u64 = 64 << 20;

impl Redis {
    pub(crate) fn preflight(&self) -> Vec<Check> {
        let found = self.dial().and_then(|dial| {
            let found = self.find(&dial)?;
            Ok((dial, found))
        });
        let (dial, found) = match found {
            Ok(found) => found,
            Err(error) => return vec![Check::of_error(&error)],
        };
        let mut checks = Vec::new();
        for server in &found.servers {
            if let Err(trouble) = look(server, &dial, &mut checks) {
                let attempt = format!("look at Redis at {}", server.address);
                checks.push(Check::of_error(&trouble.explain(&attempt)));
            }
        }
        checks
    }
}

fn look(server: &Server, dial: &Dial, checks: &mut Vec<Check>) -> Result<(), Trouble> {
    let address = &server.address;
    let mut client = Client::connect(address, dial)?;
    let about = info(&mut client, "all")?;
    let of = |name: &str| about.get(name).map_or("", String::as_str);
    checks.push(Check::good(format!(
        "Redis {} answers at {address}, as {}",
        of("redis_version"),
        of("role")
    )));
    if of("loading") == "1" {
        checks.push(Check::warning(
            format!("{address} is still reading its own data"),
            "wait until it is done: `redis-cli INFO persistence`",
        ));
    }
    if of("role") == "slave" && of("master_link_status") == "down" {
        checks.push(Check::failed(
            format!("{address} is a replica, and not connected with its master"),
            "look at master_link_status in INFO replication, or name the master as `address`",
        ));
    }
    checks.push(may_pull(&mut client)?);
    checks.push(buffer(&mut client)?);
    client.leave();
    Ok(())
}

/// Whether the user may ask for a copy as a replica does, without asking for it.
fn may_pull(client: &mut Client) -> Result<Check, Trouble> {
    let help = "the user needs: ACL SETUSER NAME on >PASSWORD +ping +info +psync +replconf +client|setname +acl|list +config|get +cluster|slots";
    let known = optional(client.ask(&["COMMAND", "INFO", "PSYNC"]))?;
    if let Some(Value::Array(found)) = &known
        && matches!(found.as_slice(), [Value::Null] | [])
    {
        return Ok(Check::failed(
            "the server does not know PSYNC: it was renamed or switched off there (managed services often do that)",
            "pull from a replica of your own",
        ));
    }
    let Some(user) = optional(client.ask(&["ACL", "WHOAMI"]))?.and_then(|user| user.text()) else {
        return Ok(Check::good(
            "PSYNC is known; the right to it is shown by the first backup only",
        ));
    };
    let tried = optional(client.ask(&["ACL", "DRYRUN", &user, "PSYNC", "?", "-1"]))?;
    Ok(match tried.and_then(|answer| answer.text()) {
        Some(answer) if answer == "OK" => Check::good("the user may pull (PSYNC)"),
        Some(answer) => Check::failed(answer, help),
        None => Check::good("PSYNC is known; the right to it is shown by the first backup only"),
    })
}

/// What is refused is not known.
fn optional(answer: Result<Value, Trouble>) -> Result<Option<Value>, Trouble> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Trouble::Refused(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn buffer(client: &mut Client) -> Result<Check, Trouble> {
    let name = "client-output-buffer-limit";
    let answer = optional(client.ask(&["CONFIG", "GET", name]))?;
    let setting = answer.and_then(|answer| topology::pairs(&answer).remove(name));
    Ok(match setting.as_deref().map(limit) {
        None => Check::good(format!("{name} is not told to this user")),
        Some(None | Some(0)) => Check::good(format!("{name} for replicas has no limit")),
        Some(Some(bytes)) if bytes < BUFFER => Check::warning(
            format!(
                "{name} for replicas is {}: a pull is cut off when as much is written meanwhile",
                Size(bytes).human()
            ),
            format!("CONFIG SET {name} \"replica 268435456 67108864 60\", and in redis.conf"),
        ),
        Some(Some(bytes)) => Check::good(format!("{name} for replicas is {}", Size(bytes).human())),
    })
}

/// The hard limit for replicas in bytes.
fn limit(setting: &str) -> Option<u64> {
    let words: Vec<&str> = setting.split_whitespace().collect();
    words
        .chunks(4)
        .find(|class| ["slave", "replica"].contains(&class[0]))
        .and_then(|class| class.get(1)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_for_replicas_is_found() {
        for (setting, bytes) in [
            (
                "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
                Some(268_435_456),
            ),
            ("normal 0 0 0 replica 0 0 0", Some(0)),
            ("", None),
            ("replica", None),
        ] {
            assert_eq!(limit(setting), bytes, "{setting}");
        }
    }
}
