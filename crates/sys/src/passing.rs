//! Unix sockets that carry whole messages and, with a message, an open descriptor (unix(7),
//! `SOCK_SEQPACKET` and `SCM_RIGHTS`).
//!
//! What was sent is received also when the sender has died meanwhile, and a connection that nobody
//! has accepted yet takes messages already. Nothing here waits: `WouldBlock` says that it would.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::cmsg_space;
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    listen as start_listening, recvmsg, sendmsg, socket_with,
};

use crate::call::{check, retry};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 16;

/// Listens at `name` in `directory`, for this user and root only. `AddrInUse` if the name is taken.
///
/// The directory is opened first and the name is looked up in it, so that its path may be longer than
/// the address of a socket.
pub fn listen(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let socket = socket()?;
    // Before it has a name: nobody finds it with another mode.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    at(directory, name, |address| Ok(bind(&socket, address)?))?;
    start_listening(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to what listens at `name` in `directory`. `ConnectionRefused` when nobody listens there
/// any more, `NotFound` when there is no such name, `WouldBlock` when too many wait.
pub fn connect(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let socket = socket()?;
    at(directory, name, |address| {
        Ok(rustix::net::connect(&socket, address)?)
    })?;
    Ok(socket)
}

/// The next connection that waits.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    retry(|| Ok(accept_with(&listener, flags)?))
}

/// Sends one message, with a duplicate of `fd` if there is one. It arrives whole or not at all.
pub fn send(socket: impl AsFd, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let fds = fd.as_slice();
    retry(|| {
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&socket, &[IoSlice::new(message)], &mut ancillary, flags)?;
        Ok(())
    })
}

/// Sends messages in this order, each with a duplicate of a descriptor, in one call: whoever listens is
/// woken once. Returns how many there was room for; an error is of the first.
pub fn send_all(socket: impl AsFd, messages: &[(&[u8], BorrowedFd<'_>)]) -> io::Result<usize> {
    const MOST: usize = 4;
    /// What `CMSG_SPACE(sizeof(int))` makes room for, laid out as cmsg(3) says: the header, and behind
    /// it the number, padded to the alignment of the header.
    #[repr(C)]
    struct Control {
        head: libc::cmsghdr,
        fd: libc::c_int,
    }
    const LENGTH: usize = std::mem::offset_of!(Control, fd) + size_of::<libc::c_int>();

    let messages = messages.get(..MOST).unwrap_or(messages);
    // SAFETY: integers and pointers, which may be zero: messages without address, parts and
    // descriptors.
    let (mut headers, mut controls, mut parts): (
        [libc::mmsghdr; MOST],
        [Control; MOST],
        [libc::iovec; MOST],
    ) = unsafe { std::mem::zeroed() };
    let places = headers.iter_mut().zip(&mut parts).zip(&mut controls);
    for ((message, fd), ((header, part), control)) in messages.iter().zip(places) {
        part.iov_base = message.as_ptr().cast_mut().cast();
        part.iov_len = message.len();
        control.head.cmsg_level = libc::SOL_SOCKET;
        control.head.cmsg_type = libc::SCM_RIGHTS;
        control.head.cmsg_len = LENGTH as _;
        control.fd = fd.as_raw_fd();
        let header = &mut header.msg_hdr;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::from_mut(control).cast();
        header.msg_controllen = size_of::<Control>() as _;
    }
    let count = u32::try_from(messages.len()).unwrap_or(0);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    retry(|| {
        // SAFETY: the headers point to messages, parts and descriptors that outlive the call.
        let sent = check(unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                flags as _,
            )
        })?;
        Ok(usize::try_from(sent).unwrap_or(0))
    })
}

/// Receives one message into `buffer`: its length, 0 at the end of the connection, and the
/// descriptor that came with it, close-on-exec. What does not fit is cut off, further descriptors
/// are closed; there is none if this process may not open more.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    retry(|| {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let buffers = &mut [IoSliceMut::new(buffer)];
        let received = recvmsg(&socket, buffers, &mut ancillary, flags)?;
        let mut found = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for fd in fds {
                    found.get_or_insert(fd);
                }
            }
        }
        Ok((received.bytes, found))
    })
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Does something with the address of `name` in `directory`.
fn at<T>(
    directory: &Path,
    name: &str,
    act: impl FnOnce(&SocketAddrUnix) -> io::Result<T>,
) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    act(&SocketAddrUnix::new(format!(
        "/proc/self/fd/{number}/{name}"
    ))?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{peer, pipe, users};

    #[test]
    fn what_was_sent_outlives_the_sender() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(200));
        std::fs::create_dir(&long).unwrap();
        let absent = connect(&long, "s").unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        let listener = listen(&long, "s").unwrap();
        let mode = std::fs::metadata(long.join("s")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(
            listen(&long, "s").unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(
            accept(&listener).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );

        let client = connect(&long, "s").unwrap();
        let (reader, writer) = pipe::capture_pipe(0).unwrap();
        std::fs::File::from(writer).write_all(b"left").unwrap();
        send(&client, b"one", Some(reader.as_fd())).unwrap();
        send(&client, b"two", None).unwrap();
        let more = [(&b"three"[..], reader.as_fd()), (b"four", reader.as_fd())];
        assert_eq!(send_all(&client, &more).unwrap(), 2);
        let kept = pipe::inode(&reader).unwrap();
        drop((client, reader));

        let socket = accept(&listener).unwrap();
        assert_eq!(
            peer::credentials(&socket).unwrap().uid,
            users::effective_uid()
        );
        let mut buffer = [0; 8];
        let (length, fd) = receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"one");
        let mut text = String::new();
        let mut file = std::fs::File::from(fd.unwrap());
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "left");
        let (length, fd) = receive(&socket, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fd.is_none()), (&b"two"[..], true));
        let (length, fd) = receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"three");
        assert_eq!(pipe::inode(fd.unwrap()).unwrap(), kept);
        let (length, fd) = receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"four");
        assert!(fd.is_some());
        assert_eq!(receive(&socket, &mut buffer).unwrap().0, 0);

        drop(listener);
        assert_eq!(
            connect(&long, "s").unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}
