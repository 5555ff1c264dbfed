//! Names of hosts, as the operating system's resolver knows them. Its calls block, so they have a thread of their own.

use std::net::IpAddr;

use dns_lookup::{AddrInfoHints, getaddrinfo, lookup_addr};

/// `AI_CANONNAME`, which asks for the canonical name; the same on every system with GNU libc or musl.
const CANONICAL: i32 = 0x0002;

/// The canonical name of a host.
pub(super) async fn canonical(host: &str) -> Result<String, String> {
    let asked = host.to_owned();
    blocking(move || {
        let hints = AddrInfoHints { flags: CANONICAL, ..AddrInfoHints::default() };
        let found = getaddrinfo(Some(&asked), None, Some(hints));
        let found = found.map_err(|error| format!("lookup {asked}: {}", std::io::Error::from(error)))?;
        let mut names = found.filter_map(|entry| entry.ok()?.canonname);
        names.next().map(|name| trimmed(&name)).ok_or_else(|| format!("lookup {asked}: no canonical name"))
    })
    .await
}

/// The name that the addresses of a host lead back to.
pub(super) async fn reverse(host: &str) -> Result<String, String> {
    let asked = host.to_owned();
    blocking(move || {
        let found = getaddrinfo(Some(&asked), None, None);
        let found = found.map_err(|error| format!("lookup {asked}: {}", std::io::Error::from(error)))?;
        let addresses = found.filter_map(|entry| Some(entry.ok()?.sockaddr.ip()));
        let mut last = format!("lookup {asked}: no addresses");
        for address in addresses {
            match lookup_addr(&address) {
                // Without a name the address itself comes back.
                Ok(name) if name.parse::<IpAddr>().is_err() => return Ok(trimmed(&name)),
                Ok(_) => last = format!("lookup {address}: no name"),
                Err(error) => last = format!("lookup {address}: {error}"),
            }
        }
        Err(last)
    })
    .await
}

fn trimmed(name: &str) -> String {
    name.trim_end_matches('.').to_owned()
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|_| Err("the look-up was cut short".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_address_leads_to_names_or_a_reason() {
        assert!(!canonical("localhost").await.unwrap().is_empty());
        // Whether it has a name is up to the machine.
        match reverse("127.0.0.1").await {
            Ok(name) => assert!(!name.is_empty() && name.parse::<IpAddr>().is_err()),
            Err(reason) => assert!(reason.contains("127.0.0.1"), "{reason}"),
        }
    }
}
