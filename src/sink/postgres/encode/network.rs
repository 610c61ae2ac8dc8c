//! `inet`, `cidr`, `macaddr`, `macaddr8`: addresses, as `network_recv` and `macaddr_recv` read them.

use std::net::IpAddr;

use super::{Literal, put, put_fixed, refuse, uuid::hex_byte};
use crate::rejection::{Reason, Rejection};

/// `PGSQL_AF_INET` and `PGSQL_AF_INET6`, whatever the system's own numbers are.
const VERSION_4: u8 = 2;
const VERSION_6: u8 = 3;

pub(super) fn encode_inet(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let text = text(literal, "inet")?;
    match address(text) {
        Some((address, bits)) => put_address(address, bits, false, out),
        None => {
            let problem = "expected an address like 10.1.2.3, 10.1.2.3/24 or 2001:db8::1/64 (inet)";
            Err(refuse(Reason::InvalidText, text, problem))
        }
    }
}

pub(super) fn encode_cidr(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let text = text(literal, "cidr")?;
    match address(text) {
        Some((address, bits)) if has_host_bits(address, bits) => {
            let problem = "has bits set to the right of its mask; inet would hold it (cidr)";
            Err(refuse(Reason::InvalidText, text, problem))
        }
        Some((address, bits)) => put_address(address, bits, true, out),
        None => {
            let problem = "expected a network like 10.1.2.0/24 or 2001:db8::/32 (cidr)";
            Err(refuse(Reason::InvalidText, text, problem))
        }
    }
}

fn text<'a>(literal: Literal<'a>, type_name: &str) -> Result<&'a [u8], Rejection> {
    match literal {
        Literal::Text(text) => Ok(text),
        Literal::Number(text) => {
            Err(refuse(Reason::WrongType, text, format_args!("expected a string ({type_name})")))
        }
    }
}

/// An address and the bits of its mask; all of them if there is none.
fn address(text: &[u8]) -> Option<(IpAddr, u8)> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
        Some(_) => return None,
    };
    (bits <= most).then_some((address, bits))
}

fn has_host_bits(address: IpAddr, bits: u8) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.to_bits() & u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0) != 0
        }
        IpAddr::V6(address) => {
            address.to_bits() & u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0) != 0
        }
    }
}

fn put_address(
    address: IpAddr,
    bits: u8,
    is_cidr: bool,
    out: &mut Vec<u8>,
) -> Result<(), Rejection> {
    let mut field = [0; 20];
    let octets = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let (version, size) = if address.is_ipv4() { (VERSION_4, 4) } else { (VERSION_6, 16) };
    let (head, rest) = field.split_at_mut(4);
    head.copy_from_slice(&[version, bits, u8::from(is_cidr), size]);
    rest.copy_from_slice(&octets.to_be_bytes());
    put(field.get(..4 + usize::from(size)).unwrap_or_default(), out)
}

pub(super) fn encode_macaddr(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let text = text(literal, "macaddr")?;
    match hardware(text) {
        Some(([a, b, c, d, e, f, ..], 6)) if is_grouped(text) => {
            put_fixed::<6, 10>([a, b, c, d, e, f], out);
        }
        _ => {
            let problem = "expected an address like 08:00:2b:01:02:03 (macaddr)";
            return Err(refuse(Reason::InvalidText, text, problem));
        }
    }
    Ok(())
}

pub(super) fn encode_macaddr8(literal: Literal<'_>, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let text = text(literal, "macaddr8")?;
    match hardware(text) {
        // Six octets become eight as EUI-64 has it (`macaddr8_in`).
        Some(([a, b, c, d, e, f, ..], 6)) => {
            put_fixed::<8, 12>([a, b, c, 0xff, 0xfe, d, e, f], out);
        }
        Some((octets, _)) => put_fixed::<8, 12>(octets, out),
        None => {
            let problem = "expected an address like 08:00:2b:01:02:03:04:05 (macaddr8)";
            return Err(refuse(Reason::InvalidText, text, problem));
        }
    }
    Ok(())
}

/// Six or eight octets, of two digits each, with the same separator wherever there is one.
fn hardware(text: &[u8]) -> Option<([u8; 8], usize)> {
    let (mut octets, mut count) = ([0; 8], 0);
    let mut separator = None;
    let mut rest = text;
    loop {
        let [high, low, after @ ..] = rest else { return None };
        *octets.get_mut(count)? = hex_byte(*high, *low)?;
        count += 1;
        rest = match after {
            [] => return matches!(count, 6 | 8).then_some((octets, count)),
            [found @ (b':' | b'-' | b'.'), after @ ..] => {
                if *separator.get_or_insert(*found) != *found {
                    return None;
                }
                after
            }
            _ => after,
        };
    }
}

/// Whether the groups are such as `macaddr_in` knows: aa:bb, aa-bb, aabb.ccdd, aabb-ccdd,
/// aabbcc:ddeeff, aabbcc-ddeeff, or all in one.
fn is_grouped(text: &[u8]) -> bool {
    let size = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
    let is_known = match (size, text.get(size)) {
        (2 | 6, Some(b':' | b'-')) | (4, Some(b'.' | b'-')) => true,
        (_, separator) => separator.is_none(),
    };
    is_known && text.split(|byte| !byte.is_ascii_hexdigit()).all(|group| group.len() == size)
}
