//! `system`: the machine, from what Linux tells in files.

use std::net::Ipv6Addr;

use spanbridge_pdata::Value;

use super::names;
use crate::config::SystemConfig;
use crate::found::{Collector, Found, Table};
use crate::world::World;

/// Where the name of the host can come from.
pub(crate) const SOURCES: [&str; 4] = ["dns", "os", "cname", "lookup"];

/// The attributes, and which of them are added by default.
pub(crate) const TABLE: &Table = &[
    ("host.name", true),
    ("os.type", true),
    ("host.id", false),
    ("host.arch", false),
    ("host.ip", false),
    ("host.mac", false),
    ("host.interface", false),
    ("host.cpu.vendor.id", false),
    ("host.cpu.family", false),
    ("host.cpu.model.id", false),
    ("host.cpu.model.name", false),
    ("host.cpu.stepping", false),
    ("host.cpu.cache.l2.size", false),
    ("os.description", false),
    ("os.name", false),
    ("os.version", false),
    ("os.build.id", false),
];

/// Interfaces and addresses that are looked at, at most.
const INTERFACES_MAX: usize = 4096;

pub(super) async fn detect(config: &SystemConfig, world: &World) -> Result<Found, String> {
    let mut found = Collector::new(&config.resource_attributes, TABLE);
    found.text("host.name", host_name(config, world).await?);
    found.text("os.type", os_type());
    if found.wants("host.id") {
        let files = ["etc/machine-id", "var/lib/dbus/machine-id"];
        let id = files.iter().find_map(|path| world.text(path).ok());
        if id.is_none() {
            tracing::warn!("failed to get host ID: there is no /etc/machine-id");
        }
        found.text("host.id", id.unwrap_or_default());
    }
    found.text("host.arch", architecture(std::env::consts::ARCH));
    if found.wants("host.ip") {
        found.list("host.ip", addresses(world));
    }
    let interfaces = interfaces(world);
    found.list("host.interface", interfaces.iter().map(|(name, _)| name.clone()).collect());
    found.list("host.mac", interfaces.into_iter().filter_map(|(_, mac)| mac).collect());
    cpu(&world.text("proc/cpuinfo").unwrap_or_default(), &mut found);
    os(world, &mut found);
    Ok(found.finish())
}

async fn host_name(config: &SystemConfig, world: &World) -> Result<String, String> {
    let own = world
        .text("proc/sys/kernel/hostname")
        .map_err(|error| format!("failed getting OS hostname: {error}"))?;
    let sources = &config.hostname_sources;
    let sources: Vec<&str> =
        if sources.is_empty() { vec!["dns", "os"] } else { sources.iter().map(String::as_str).collect() };
    let mut failures = Vec::new();
    for source in sources {
        let name = match source {
            "dns" => full_name(&own, world).await,
            "cname" => names::canonical(&own).await,
            "lookup" => names::reverse(&own).await,
            _ => Ok(own.clone()),
        };
        match name {
            Ok(name) => return Ok(name),
            Err(error) => failures.push(format!("{source}: {error}")),
        }
    }
    Err(format!("all hostname sources failed to get hostname: {}", failures.join("; ")))
}

/// The fully qualified name: from the file of hosts, the canonical name, or the name of an address.
async fn full_name(own: &str, world: &World) -> Result<String, String> {
    if let Some(name) = in_hosts(&world.text("etc/hosts").unwrap_or_default(), own) {
        return Ok(name);
    }
    match names::canonical(own).await {
        Ok(name) => Ok(name),
        Err(_) => names::reverse(own).await,
    }
}

/// The first name of the line that has this one.
fn in_hosts(text: &str, own: &str) -> Option<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names = lines.map(|line| line.split_whitespace().skip(1));
    let mut line = names.find(|names| names.clone().any(|name| name.eq_ignore_ascii_case(own)))?;
    line.next().map(|name| name.trim_end_matches('.').to_owned())
}

/// As the semantic conventions name it.
fn os_type() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "dragonfly" => "dragonflybsd",
        other => other,
    }
}

/// As the semantic conventions name it.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        "powerpc" => "ppc32",
        other => other,
    }
}

/// Every address but those of loopback.
fn addresses(world: &World) -> Vec<String> {
    let mut found = ipv4(&world.text("proc/net/fib_trie").unwrap_or_default());
    found.extend(ipv6(&world.text("proc/net/if_inet6").unwrap_or_default()));
    found.truncate(INTERFACES_MAX);
    found
}

/// The addresses of this machine in its routing table: a leaf, and below it that it is a local one.
fn ipv4(trie: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut leaf = None;
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            leaf = address.trim().parse::<std::net::Ipv4Addr>().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(address) = leaf.filter(|address| !address.is_loopback())
        {
            let address = address.to_string();
            // Each is there once for each table.
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

fn ipv6(table: &str) -> Vec<String> {
    let addresses =
        table.lines().filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
    addresses
        .map(Ipv6Addr::from_bits)
        .filter(|address| !address.is_loopback())
        .map(|a| a.to_string())
        .collect()
}

/// Names and hardware addresses of the interfaces that are up, but for loopback.
fn interfaces(world: &World) -> Vec<(String, Option<String>)> {
    const UP: u32 = 0x1;
    const LOOPBACK: u32 = 0x8;
    let Ok(entries) = std::fs::read_dir(world.root.join("sys/class/net")) else { return Vec::new() };
    let names = entries.take(INTERFACES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let read = |name: &str, file: &str| world.text(&format!("sys/class/net/{name}/{file}")).ok();
    let is_wanted = |name: &String| {
        let flags =
            read(name, "flags").and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        flags.is_some_and(|flags| flags & UP != 0 && flags & LOOPBACK == 0)
    };
    let mac = |name: &String| {
        let text = read(name, "address").filter(|text| !text.is_empty())?;
        // As the conventions want it: `AC-DE-48-23-45-67`.
        Some(text.replace(':', "-").to_uppercase())
    };
    names.into_iter().filter(is_wanted).map(|name| (name.clone(), mac(&name))).collect()
}

/// The first processor.
fn cpu(text: &str, found: &mut Collector<'_>) {
    let first = text.split("\n\n").next().unwrap_or_default();
    let of = |key: &str| {
        let lines = first.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned()).next()
    };
    for (name, key) in [
        ("host.cpu.vendor.id", "vendor_id"),
        ("host.cpu.family", "cpu family"),
        ("host.cpu.model.id", "model"),
        ("host.cpu.model.name", "model name"),
        ("host.cpu.stepping", "stepping"),
    ] {
        found.text(name, of(key).unwrap_or_default());
    }
    let size = of("cache size").and_then(|size| size.trim_end_matches("KB").trim().parse().ok());
    if let Some(size) = size {
        found.value("host.cpu.cache.l2.size", Value::Int(size));
    }
}

/// The operating system.
fn os(world: &World, found: &mut Collector<'_>) {
    let release = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| world.text(path).ok());
    let release = release.unwrap_or_default();
    let of = |key: &str| {
        let lines = release.lines().filter_map(|line| line.split_once('='));
        let value = lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim()).next();
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let kernel = |file: &str| world.text(&format!("proc/sys/kernel/{file}")).unwrap_or_default();
    let pretty = of("PRETTY_NAME");
    let pretty = if pretty.is_empty() {
        format!("{} {}", of("NAME"), of("VERSION")).trim().to_owned()
    } else {
        pretty
    };
    let unix = ["ostype", "hostname", "osrelease", "version"].map(kernel).join(" ");
    let unix = format!("{unix} {}", std::env::consts::ARCH);
    found.text("os.description", if pretty.is_empty() { unix } else { format!("{pretty} ({unix})") });
    found.text("os.name", of("ID"));
    found.text("os.version", of("VERSION_ID"));
    found.text("os.build.id", kernel("osrelease"));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/hostname", "node-1\n"),
            ("proc/sys/kernel/ostype", "Linux\n"),
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("proc/sys/kernel/version", "#1 SMP\n"),
            ("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 Node-1.example.com. node-1 # me\n"),
            ("etc/machine-id", "0123abc\n"),
            ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n"),
            (
                "proc/cpuinfo",
                "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Xeon\nstepping\t: 7\n\
                 cache size\t: 1024 KB\n\nprocessor\t: 1\nvendor_id\t: Other\n",
            ),
            (
                "proc/net/fib_trie",
                "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.1\n        /32 host \
                 LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n     |-- 10.0.0.1\n        /32 host LOCAL\n",
            ),
            (
                "proc/net/if_inet6",
                "00000000000000000000000000000001 01 80 10 80 lo\nfe800000000000000000000000000001 02 40 20 80 eth0\n",
            ),
            ("sys/class/net/lo/flags", "0x9\n"),
            ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
            ("sys/class/net/eth0/flags", "0x1003\n"),
            ("sys/class/net/eth0/address", "ac:de:48:23:45:67\n"),
            ("sys/class/net/eth1/flags", "0x1002\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    async fn found(yaml: &str) -> Vec<(String, Value)> {
        let dir = machine();
        let config = spanbridge_config::from_yaml(yaml).unwrap_or_else(|e| panic!("{e}"));
        detect(&config, &World::made_up(dir.path(), &[])).await.unwrap().0
    }

    #[tokio::test]
    async fn by_default_the_full_name_and_the_type_are_found() {
        let expected = [("host.name", "Node-1.example.com"), ("os.type", os_type())];
        let expected = expected.map(|(name, text)| (name.to_owned(), Value::from(text)));
        assert_eq!(found("{}").await, expected);
        let os = found("hostname_sources: [os]").await;
        assert_eq!(os[0].1, Value::from("node-1"));
    }

    #[tokio::test]
    async fn every_attribute_can_be_had() {
        let toggles: Vec<String> =
            TABLE.iter().map(|(name, _)| format!("{name}: {{enabled: true}}")).collect();
        let found = found(&format!("resource_attributes: {{{}}}", toggles.join(", "))).await;
        let of = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        for (name, text) in [
            ("host.id", "0123abc"),
            ("host.cpu.vendor.id", "GenuineIntel"),
            ("host.cpu.family", "6"),
            ("host.cpu.model.id", "85"),
            ("host.cpu.model.name", "Xeon"),
            ("host.cpu.stepping", "7"),
            ("os.name", "debian"),
            ("os.version", "12"),
            ("os.build.id", "6.1.0"),
        ] {
            assert_eq!(of(name), Some(Value::from(text)), "{name}");
        }
        let list = |texts: &[&str]| Some(Value::List(texts.iter().map(|text| Value::from(*text)).collect()));
        assert_eq!(of("host.ip"), list(&["10.0.0.1", "fe80::1"]));
        assert_eq!(of("host.mac"), list(&["AC-DE-48-23-45-67"]));
        assert_eq!(of("host.interface"), list(&["eth0"]));
        assert_eq!(of("host.cpu.cache.l2.size"), Some(Value::Int(1024)));
        let Some(Value::Str(description)) = of("os.description") else { panic!("{found:?}") };
        assert!(description.starts_with("Debian 12 (Linux node-1 6.1.0 #1 SMP "), "{description}");
        assert_eq!(found.len(), TABLE.len(), "{found:?}");
    }

    proptest! {
        #[test]
        fn any_text_in_these_files_is_read(text in "([-a-z0-9 |./:=#\t]{0,20}\n){0,6}") {
            let _ = (ipv4(&text), ipv6(&text), in_hosts(&text, "a"));
            let toggles = crate::config::Toggles::default();
            cpu(&text, &mut Collector::new(&toggles, TABLE));
        }
    }
}
