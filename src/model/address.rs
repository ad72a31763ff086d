//! Which addresses a tenant's target may not be at.
//!
//! A target of Kubernetes may be at a unicast address of somebody's network. Everything else leads
//! to the exporter's own machine or its link, to a metadata service that hands out credentials, or
//! nowhere. An IPv6 address that carries an IPv4 address is judged by what it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is no unicast address of somebody else's network: loopback, unspecified,
/// link-local, multicast, broadcast, reserved or documentation addresses (the IANA IPv4 and IPv6
/// Special-Purpose Address Registries), a cloud's metadata service, or a tunnel or translation
/// (IPv4-mapped and -compatible, NAT64, 6to4, Teredo, ISATAP) that leads to one of those.
///
/// An address of an interface of this machine is not known by its number alone: whoever connects
/// compares both ends of the connection.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4_is_local(v4),
        IpAddr::V6(v6) => v6_is_local(v6),
    }
}

/// Addresses beyond link-local where clouds answer their virtual machines: Alibaba Cloud, Azure,
/// and Oracle's of old (inside 192.0.0.0/24, which is refused whole).
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The same in unique local IPv6: Google, Oracle, Scaleway. AWS has `fd00:ec2::/32` to itself.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

fn v4_is_local(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = matches!(
        (a, b, c),
        // This network; loopback; link-local; IETF protocol assignments; documentation (three);
        // the anycast of 6to4; benchmarks.
        (0 | 127, _, _)
            | (169, 254, _)
            | (192, 0, 0 | 2)
            | (198, 51, 100)
            | (203, 0, 113)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            // Multicast, reserved, broadcast.
            | (224..=255, _, _)
    );
    special || METADATA_V4.contains(&v4)
}

fn v6_is_local(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    let [.., high, low] = s;
    let carried = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match s {
        // IPv4-mapped, IPv4-translated (RFC 2765), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4_is_local(carried),
        // ISATAP (RFC 5214) carries it below any prefix.
        [.., 0 | 0x200, 0x5efe, _, _] if v4_is_local(carried) => true,
        // Teredo, benchmarks, ORCHID, documentation.
        [0x2001, 0 | 2 | 0xdb8, ..] | [0x2001, 0x10..=0x2f, ..] | [0x3fff, 0..=0xfff, ..] => true,
        // 6to4 (RFC 3056) is given up (RFC 7526).
        [0x2002, ..] => true,
        [0xfd00, 0xec2, ..] => true,
        // Global unicast and unique local. All else has another meaning or none: loopback,
        // IPv4-compatible, NAT64 of one's own (RFC 8215), discard-only, link-local, multicast.
        [0x2000..=0x3fff | 0xfc00..=0xfdff, ..] => METADATA_V6.contains(&v6),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_unicast_address_of_somebody_elses_network_is_local() {
        let local = "127.0.0.1 127.9.9.9 0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250 \
            255.255.255.255 240.0.0.1 192.0.2.1 198.51.100.7 203.0.113.9 198.18.0.1 198.19.255.255 \
            192.0.0.8 192.88.99.1 \
            169.254.169.254 169.254.170.2 169.254.170.23 192.0.0.192 100.100.100.200 168.63.129.16 \
            ::1 :: fe80::1 fe80::a9fe:a9fe fec0::1 ff02::1 100::1 2001:db8::1 3fff::1 2001:2::1 \
            2001:10::1 2001:20::1 5f00::1 \
            ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 \
            ::ffff:100.100.100.200 64:ff9b::169.254.169.254 64:ff9b::127.0.0.1 \
            64:ff9b:1::169.254.169.254 64:ff9b:1:a9fe:a9:fe00:: 2002:a9fe:a9fe::1 2002:7f00:1:: \
            2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:4860::200:5efe:169.254.169.254 \
            fd00::5efe:127.0.0.1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe \
            fd00:42::42";
        for address in local.split_whitespace() {
            assert!(is_local(address.parse().unwrap()), "{address}");
        }
        let others = "10.0.0.1 192.168.1.1 172.16.0.1 100.64.0.1 100.100.100.201 168.63.129.17 \
            8.8.8.8 192.0.1.1 198.17.0.1 198.20.0.1 223.255.255.254 fd00::1 fd12:3456:789a::1 \
            fdff:ffff::1 2600:1f18::1 2a00:1450:4001::1 2001:4860:4860::8888 2001:200::1 \
            ::ffff:10.0.0.1 64:ff9b::8.8.8.8 2001:4860::200:5efe:10.0.0.1 3ffe::1";
        for address in others.split_whitespace() {
            assert!(!is_local(address.parse().unwrap()), "{address}");
        }
    }
}
