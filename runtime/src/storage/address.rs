//! Which network addresses a job's author may make this machine talk to: public ones and no others.
//! It asks no name server: whoever connects checks every answer and then connects to what was checked, not to the name.
//! The blocks are IANA's special-purpose registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Only 2000::/3 is given out at all; inside it, these lead elsewhere: Teredo and its neighbours, documentation, 6to4.
const V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const V6_GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Whether `address` is a machine on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !V4.iter().any(|block| v4_within(v4, *block)),
        IpAddr::V6(v6) => v6_within(v6, V6_GLOBAL) && !V6.iter().any(|block| v6_within(v6, *block)),
    }
}

fn v4_within(address: Ipv4Addr, (block, bits): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ block.to_bits()) >> (32 - bits) == 0
}

fn v6_within(address: Ipv6Addr, (block, bits): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ block.to_bits()) >> (128 - bits) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_machines_may_be_asked() {
        for public in ["1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn the_first_and_the_last_address_of_every_special_block_are_refused() {
        for (block, bits) in V4 {
            let last = Ipv4Addr::from_bits(block.to_bits() | (u32::MAX >> bits));
            assert!(!is_public(block.into()) && !is_public(last.into()), "{block}/{bits}");
            assert!(!is_public(block.to_ipv6_mapped().into()), "::ffff:{block}");
        }
        for (block, bits) in V6 {
            let last = Ipv6Addr::from_bits(block.to_bits() | (u128::MAX >> bits));
            assert!(!is_public(block.into()) && !is_public(last.into()), "{block}/{bits}");
        }
    }

    #[test]
    fn addresses_that_wrap_another_are_refused() {
        let wrapped = ["::1", "::", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1"];
        for special in wrapped.into_iter().chain(["fe80::1", "fc00::1", "fec0::1", "ff02::1", "5f00::1", "100::1"]) {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }
}
