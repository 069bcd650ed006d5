//! What a tunnel begins with: whose connection it carries.

use std::net::SocketAddr;
use std::time::Duration;

use rotary_transport::Tunnel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the greeting may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says whose connection follows: a byte with the length of the address, and the address as text.
///
/// # Errors
/// That of the tunnel.
pub(super) async fn write(tunnel: &mut Tunnel, address: SocketAddr) -> std::io::Result<()> {
    let text = address.to_string();
    let length = u8::try_from(text.len()).expect("an address is short");
    tunnel.write_all(&[&[length], text.as_bytes()].concat()).await
}

/// Reads whose connection follows.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) async fn read(tunnel: &mut Tunnel) -> Result<SocketAddr, String> {
    let reading = async {
        let length = usize::from(tunnel.read_u8().await?);
        let mut text = [0; u8::MAX as usize];
        tunnel.read_exact(&mut text[..length]).await?;
        std::io::Result::Ok(text[..length].to_vec())
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    let text =
        read.map_err(|_| "it said nothing".to_owned())?.map_err(|error| error.to_string())?;
    parse(&text)
}

fn parse(text: &[u8]) -> Result<SocketAddr, String> {
    let text = str::from_utf8(text).map_err(|error| error.to_string())?;
    text.parse().map_err(|_| "that is no address and port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_its_port_is_read_and_nothing_else() {
        for address in ["192.0.2.1:7", "[2001:db8::1]:65535"] {
            assert_eq!(parse(address.as_bytes()).expect(address).to_string(), address);
        }
        for wrong in [&b""[..], b"192.0.2.1", b"192.0.2.1:70000", b"\xff\xff", b"localhost:1"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
