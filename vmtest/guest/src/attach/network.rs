//! Connections and packets, all within the machine.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::actor::{Done, Scene, Want, Wants, done, name_space};

const LOOPBACK: &str = "lo";
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Discard: nobody listens there.
const NOBODYS_PORT: u16 = 9;
const ETH_P_IP: i128 = 0x0800;
const IPPROTO_UDP: i128 = 17;
const PAYLOAD: &[u8] = b"to nobody";

/// Connections that are taken, in both families, and one that is refused.
pub fn connect(scene: &Scene<'_>) -> Vec<Done> {
    let up = raise_loopback();
    let wants = |local: SocketAddr, taken| -> Wants {
        up.as_ref().map_err(ToString::to_string)?;
        connect_to(scene, local, taken)
    };
    let any = |address: std::net::IpAddr| SocketAddr::new(address, 0);
    vec![
        Done { what: "a process connected over IPv4", hooks: &[], wants: wants(any(LOCAL.into()), true) },
        Done {
            what: "a process connected over IPv6",
            hooks: &[],
            wants: wants(any(Ipv6Addr::LOCALHOST.into()), true),
        },
        Done { what: "a connection was refused", hooks: &[], wants: wants(any(LOCAL.into()), false) },
    ]
}

fn connect_to(scene: &Scene<'_>, local: SocketAddr, taken: bool) -> Wants {
    let prepared = || -> io::Result<_> {
        let listener = TcpListener::bind(local)?;
        let remote = listener.local_addr()?;
        // Bound before, so that its port is known here.
        let socket = bound_socket(local)?;
        let from = socket.local_addr()?;
        Ok((taken.then_some(listener), remote, socket, from))
    };
    let (listener, remote, socket, from) = prepared().map_err(|error| error.to_string())?;
    let actor = scene.act(|_| match (connect_socket(&socket, remote), taken) {
        (Ok(()), true) => Ok(()),
        (Err(error), false) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(()),
        (other, _) => Err(io::Error::other(format!("connect: {other:?}"))),
    })?;
    drop((listener, socket));
    let (family, address) = match local {
        SocketAddr::V4(local) => (libc::AF_INET, local.ip().octets().to_vec()),
        SocketAddr::V6(local) => (libc::AF_INET6, local.ip().octets().to_vec()),
    };
    let mut wants = scene.head(&actor);
    wants.extend([
        ("took_ns", Want::Between(1, actor.nanos)),
        ("established", Want::Number(taken.into())),
        ("error", Want::Number(if taken { 0 } else { libc::ECONNREFUSED.into() })),
        ("retransmits", Want::Number(0)),
        ("fast_open", Want::Number(0)),
        // An address of IPv6 that a socket is bound to makes it so.
        ("ipv6_only", Want::Number(local.is_ipv6().into())),
        ("net_ns", name_space("net")),
        ("family", Want::Number(family.into())),
        ("local_port", Want::Number(from.port().into())),
        ("remote_port", Want::Number(remote.port().into())),
        ("local", Want::Bytes(address.clone())),
        ("remote", Want::Bytes(address)),
    ]);
    Ok(wants)
}

/// A packet to a port where nobody listens, at an address that nothing else uses.
pub fn send_to_nobody(scene: &Scene<'_>) -> Vec<Done> {
    let wants = || -> Wants {
        raise_loopback().map_err(|error| error.to_string())?;
        let digits = u32::from_str_radix(scene.token, 16).map_err(|error| error.to_string())?;
        let target = Ipv4Addr::from(127 << 24 | digits);
        let socket = UdpSocket::bind((LOCAL, 0)).map_err(|error| error.to_string())?;
        let port = socket.local_addr().map_err(|error| error.to_string())?.port();
        scene.act(|_| socket.send_to(PAYLOAD, (target, NOBODYS_PORT)).map(drop))?;
        // Whoever was running: the kernel may throw it away in an interrupt.
        Ok(vec![
            ("kind.protocol", Want::Number(ETH_P_IP)),
            ("ip_protocol", Want::Number(IPPROTO_UDP)),
            ("source_port", Want::Number(port.into())),
            ("target_port", Want::Number(NOBODYS_PORT.into())),
            ("source", Want::Bytes(LOCAL.octets().to_vec())),
            ("target", Want::Bytes(target.octets().to_vec())),
            ("len", Want::Between(PAYLOAD.len() as i128, PAYLOAD.len() as i128 + 28)),
            ("packet_type", Want::Number(0)),
            ("net_device", Want::Number(1)),
            ("device", Want::Text(LOOPBACK.to_owned())),
        ])
    };
    vec![Done { what: "a packet was sent to a port where nobody listens", hooks: &[], wants: wants() }]
}

/// A machine without its own address cannot talk to itself.
#[allow(unsafe_code)]
fn raise_loopback() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: all zeros is a request without a name; the calls read and write it.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(LOOPBACK.bytes()) {
            *to = from as libc::c_char;
        }
        done(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request).into())?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        done(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request).into())?;
    }
    Ok(())
}

/// A TCP socket that has its address already.
struct Socket(OwnedFd);

#[allow(unsafe_code)]
fn bound_socket(local: SocketAddr) -> io::Result<Socket> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a new descriptor is nobody else's.
    let socket = unsafe {
        let fd = done(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).into())?;
        Socket(OwnedFd::from_raw_fd(fd as i32))
    };
    rustix::net::bind(&socket.0, &local)?;
    Ok(socket)
}

impl Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getsockname(&self.0)?;
        SocketAddr::try_from(address).map_err(|_| io::Error::other("a socket without an address"))
    }
}

fn connect_socket(socket: &Socket, remote: SocketAddr) -> io::Result<()> {
    Ok(rustix::net::connect(&socket.0, &remote)?)
}
