//! The module's exports and imports: numbers and pieces of its memory, nothing else. This is the only place that knows
//! of pointers; `package/machine.js` is its other side, function by function.
//!
//! Bytes on their way in are written by the shell into memory that [`allocate`] gave it, and belong to the host with the
//! call that hands them over. Bytes on their way out are only to be looked at during the call.

use std::cell::RefCell;

use bytes::Bytes;
use dolake_core::command::{Condition, ResponseHead, Write};
use dolake_core::event::{CallId, ConnId, Frame, Peer, RequestHead};
use dolake_core::journal::{BATCH_RANGE, CONTROL_RANGE, ordinal};
use dolake_core::{Seed, Timestamp};

use crate::hands::{Hands, Number};
use crate::host::{Host, SaveEnd, StoreEnd};
use crate::open;

mod shell {
    #[link(wasm_import_module = "shell")]
    unsafe extern "C" {
        pub(super) fn send(conn: f64, frame: *const u8, len: usize);
        pub(super) fn close(conn: f64, code: u32, reason: *const u8, len: usize);
        pub(super) fn attach(conn: f64, bytes: *const u8, len: usize);
        pub(super) fn save_put(ordinal: f64, key: *const u8, key_len: usize, value: *const u8, value_len: usize);
        pub(super) fn save_delete(ordinal: f64, key: *const u8, key_len: usize);
        pub(super) fn save(number: f64);
        pub(super) fn load(
            number: f64,
            first: f64,
            from: *const u8,
            from_len: usize,
            end: f64,
            until: *const u8,
            until_len: usize,
            keys_only: u32,
            limit: f64,
        );
        pub(super) fn put(
            number: f64,
            key: *const u8,
            key_len: usize,
            bytes: *const u8,
            len: usize,
            only_if_absent: u32,
        );
        pub(super) fn get(number: f64, key: *const u8, key_len: usize, from: f64, until: f64, for_client: u32);
        pub(super) fn delete(number: f64, key: *const u8, key_len: usize);
        pub(super) fn read_more(call: f64);
        pub(super) fn accept(call: f64);
        pub(super) fn respond(
            call: f64,
            status: u32,
            headers: *const u8,
            headers_len: usize,
            body: *const u8,
            len: usize,
        );
        pub(super) fn halt(reason: *const u8, len: usize);
        pub(super) fn refuse(reason: *const u8, len: usize);
        pub(super) fn panicked(message: *const u8, len: usize);
    }
}

/// The shell behind the module's imports.
#[derive(Debug)]
struct Shell;

// SAFETY, for all calls below: the shell reads the given memory during the call and keeps no pointer to it.
impl Hands for Shell {
    fn send(&mut self, conn: ConnId, frame: &[u8]) {
        unsafe { shell::send(conn.0 as f64, frame.as_ptr(), frame.len()) }
    }

    fn close(&mut self, conn: ConnId, code: u16, reason: &str) {
        unsafe { shell::close(conn.0 as f64, u32::from(code), reason.as_ptr(), reason.len()) }
    }

    fn attach(&mut self, conn: ConnId, bytes: &[u8]) {
        unsafe { shell::attach(conn.0 as f64, bytes.as_ptr(), bytes.len()) }
    }

    fn save(&mut self, number: Number, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Put(key, value) => unsafe {
                    shell::save_put(numbered(key), key.as_ptr(), key.len(), value.as_ptr(), value.len());
                },
                Write::Delete(key) => unsafe { shell::save_delete(numbered(key), key.as_ptr(), key.len()) },
            }
        }
        unsafe { shell::save(number as f64) }
    }

    fn load(&mut self, number: Number, from: &[u8], until: &[u8], keys_only: bool, limit: Option<u32>) {
        let limit = limit.map_or(-1.0, f64::from);
        let (keys_only, first, end) = (u32::from(keys_only), numbered(from), numbered(until));
        let ((from, from_len), (until, until_len)) = ((from.as_ptr(), from.len()), (until.as_ptr(), until.len()));
        unsafe {
            shell::load(number as f64, first, from, from_len, end, until, until_len, keys_only, limit);
        }
    }

    fn put(&mut self, number: Number, key: &str, bytes: &[u8], condition: Condition) {
        let only_if_absent = match condition {
            Condition::Always => 0,
            Condition::IfAbsent => 1,
        };
        unsafe { shell::put(number as f64, key.as_ptr(), key.len(), bytes.as_ptr(), bytes.len(), only_if_absent) }
    }

    fn get(&mut self, number: Number, key: &str, range: Option<(u64, u64)>, for_client: bool) {
        let (from, until) = range.map_or((-1.0, -1.0), |(from, until)| (from as f64, until as f64));
        unsafe { shell::get(number as f64, key.as_ptr(), key.len(), from, until, u32::from(for_client)) }
    }

    fn delete(&mut self, number: Number, key: &str) {
        unsafe { shell::delete(number as f64, key.as_ptr(), key.len()) }
    }

    fn read_more(&mut self, call: CallId) {
        unsafe { shell::read_more(call.0 as f64) }
    }

    fn accept(&mut self, call: CallId) {
        unsafe { shell::accept(call.0 as f64) }
    }

    fn respond(&mut self, call: CallId, head: &ResponseHead, body: &[u8]) {
        let headers = serde_json::to_vec(&head.headers).expect("pairs of strings always encode");
        let status = u32::from(head.status);
        unsafe {
            shell::respond(call.0 as f64, status, headers.as_ptr(), headers.len(), body.as_ptr(), body.len());
        }
    }

    fn halt(&mut self, reason: &str) {
        unsafe { shell::halt(reason.as_ptr(), reason.len()) }
    }
}

thread_local! {
    static HOST: RefCell<Option<Host<Shell>>> = const { RefCell::new(None) };
}

/// The host, in a call from the shell. Before [`begin`] there is none, and nothing happens.
fn with(act: impl FnOnce(&mut Host<Shell>)) {
    HOST.with_borrow_mut(|host| host.as_mut().map(act));
}

/// A key's [`ordinal`]; below zero: none.
fn numbered(key: &[u8]) -> f64 {
    ordinal(key).map_or(-1.0, |ordinal| ordinal as f64)
}

fn at(now_ms: f64) -> Timestamp {
    Timestamp(now_ms as i64)
}

fn conn_id(number: f64) -> ConnId {
    ConnId(number as u64)
}

fn call_id(number: f64) -> CallId {
    CallId(number as u64)
}

/// Memory from [`allocate`], of which the shell has written the first `len` bytes.
///
/// # Safety
/// `pointer` and `capacity` are those of one [`allocate`] or [`reallocate`] that was not taken before.
unsafe fn take(pointer: *mut u8, len: usize, capacity: usize) -> Bytes {
    let mut bytes = unsafe { Vec::from_raw_parts(pointer, len, capacity) };
    // A frame may be kept for long. Text that is not ASCII was given room for its worst case.
    if capacity - len > len / 8 {
        bytes.shrink_to_fit();
    }
    Bytes::from(bytes)
}

/// Gives the shell memory to write into.
#[unsafe(no_mangle)]
extern "C" fn allocate(capacity: usize) -> *mut u8 {
    let mut memory = std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(capacity));
    memory.as_mut_ptr()
}

/// Gives the shell more memory, with what it wrote into the former.
#[unsafe(no_mangle)]
unsafe extern "C" fn reallocate(pointer: *mut u8, len: usize, capacity: usize, wanted: usize) -> *mut u8 {
    let mut memory = std::mem::ManuallyDrop::new(unsafe { Vec::from_raw_parts(pointer, len, capacity) });
    memory.reserve_exact(wanted.saturating_sub(len));
    memory.as_mut_ptr()
}

/// The settings' defaults as JSON, behind its length (32 bits, little-endian). For the package's build.
#[unsafe(no_mangle)]
extern "C" fn default_config() -> *const u8 {
    let json = serde_json::to_vec(&open::defaults()).expect("plain data always encodes");
    let length = u32::try_from(json.len()).expect("settings are short");
    [&length.to_le_bytes()[..], &json].concat().leak().as_ptr()
}

/// The bounds of [`CONTROL_RANGE`] and [`BATCH_RANGE`], each one byte, the first lowest.
#[unsafe(no_mangle)]
extern "C" fn saved_ranges() -> u32 {
    let bounds = [CONTROL_RANGE.0, CONTROL_RANGE.1, BATCH_RANGE.0, BATCH_RANGE.1];
    u32::from_le_bytes(bounds.map(|bound| <[u8; 1]>::try_from(bound).expect("a bound is one byte")[0]))
}

/// Begins the life. `seed`: 16 bytes of chance. `compress`: whether rows of the storage are small. Entries are encoded as
/// in [`rows`]. 1: it lives; 0: it was refused.
#[unsafe(no_mangle)]
unsafe extern "C" fn begin(
    now_ms: f64,
    compress: u32,
    seed: *mut u8,
    config: *mut u8,
    config_len: usize,
    control: *mut u8,
    control_len: usize,
    batches: *mut u8,
    batches_len: usize,
) -> u32 {
    std::panic::set_hook(Box::new(|info| {
        let message = info.to_string();
        unsafe { shell::panicked(message.as_ptr(), message.len()) }
    }));
    let whole = |pointer, len| unsafe { take(pointer, len, len) };
    let (seed, config) = (whole(seed, 16), whole(config, config_len));
    let saved = open::unpacked(whole(control, control_len), whole(batches, batches_len));
    let seed = Seed(u128::from_le_bytes(seed[..].try_into().expect("16 bytes were taken")));
    match saved.and_then(|saved| open::open(&config, saved, seed, at(now_ms))) {
        Ok(lake) => {
            HOST.set(Some(Host::new(lake, Shell, compress != 0)));
            1
        }
        Err(error) => {
            let reason = error.to_string();
            unsafe { shell::refuse(reason.as_ptr(), reason.len()) }
            0
        }
    }
}

/// Milliseconds until [`wake`] is wanted; below zero: never.
#[unsafe(no_mangle)]
extern "C" fn deadline_ms() -> f64 {
    let mut after_ms = -1.0;
    with(|host| after_ms = host.deadline_ms().map_or(-1.0, |after| after as f64));
    after_ms
}

/// 0: the machine rests. 1: it waits for something that it began. 2: and [`work`] has something to do.
#[unsafe(no_mangle)]
extern "C" fn business() -> u32 {
    let mut business = 0;
    with(|host| business = u32::from(host.is_busy()) + u32::from(host.has_work()));
    business
}

/// See [`Host::opened`]. `peer` is JSON; an attachment of no bytes is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn opened(
    now_ms: f64,
    conn: f64,
    peer: *mut u8,
    peer_len: usize,
    attachment: *mut u8,
    attachment_len: usize,
) {
    let (peer, attachment) =
        unsafe { (take(peer, peer_len, peer_len), take(attachment, attachment_len, attachment_len)) };
    let peer: Peer = serde_json::from_slice(&peer).unwrap_or_default();
    let attachment = Some(attachment).filter(|bytes| !bytes.is_empty());
    with(|host| host.opened(at(now_ms), conn_id(conn), peer, attachment));
}

/// See [`Host::received`].
#[unsafe(no_mangle)]
unsafe extern "C" fn received(now_ms: f64, conn: f64, is_text: u32, bytes: *mut u8, len: usize, capacity: usize) {
    let bytes = unsafe { take(bytes, len, capacity) };
    let frame = if is_text == 0 { Frame::Binary(bytes) } else { Frame::Text(bytes) };
    with(|host| host.received(at(now_ms), conn_id(conn), frame));
}

/// See [`Host::closed`].
#[unsafe(no_mangle)]
extern "C" fn closed(now_ms: f64, conn: f64) {
    with(|host| host.closed(at(now_ms), conn_id(conn)));
}

/// See [`Host::requested`]. `head` is JSON.
#[unsafe(no_mangle)]
unsafe extern "C" fn requested(now_ms: f64, call: f64, head: *mut u8, len: usize) {
    let head = unsafe { take(head, len, len) };
    let head: RequestHead = serde_json::from_slice(&head).expect("the shell writes heads as RequestHead reads them");
    with(|host| host.requested(at(now_ms), call_id(call), head));
}

/// See [`Host::body`].
#[unsafe(no_mangle)]
unsafe extern "C" fn body(now_ms: f64, call: f64, bytes: *mut u8, len: usize, last: u32) {
    let bytes = unsafe { take(bytes, len, len) };
    with(|host| host.body(at(now_ms), call_id(call), bytes, last != 0));
}

/// See [`Host::call_gone`].
#[unsafe(no_mangle)]
extern "C" fn call_gone(now_ms: f64, call: f64) {
    with(|host| host.call_gone(at(now_ms), call_id(call)));
}

/// See [`Host::wake`].
#[unsafe(no_mangle)]
extern "C" fn wake(now_ms: f64) {
    with(|host| host.wake(at(now_ms)));
}

/// See [`Host::work`].
#[unsafe(no_mangle)]
extern "C" fn work(now_ms: f64) {
    with(|host| host.work(at(now_ms)));
}

/// See [`Host::saved`]. `how`: 0 durable, 1 rolled back, 2 unknown.
#[unsafe(no_mangle)]
unsafe extern "C" fn saved(now_ms: f64, number: f64, how: u32, message: *mut u8, len: usize) {
    let message = unsafe { take(message, len, len) };
    let end = match how {
        0 => SaveEnd::Durable,
        1 => SaveEnd::RolledBack,
        _ => SaveEnd::Unknown,
    };
    with(|host| host.saved(at(now_ms), number as Number, end, &String::from_utf8_lossy(&message)));
}

/// See [`Host::loaded`]. `bytes`: the entries, or the error's message.
#[unsafe(no_mangle)]
unsafe extern "C" fn loaded(now_ms: f64, number: f64, succeeded: u32, bytes: *mut u8, len: usize) {
    let bytes = unsafe { take(bytes, len, len) };
    let message = String::from_utf8_lossy(if succeeded == 0 { &bytes } else { b"" }).into_owned();
    let found = if succeeded == 0 { Err(message.as_str()) } else { Ok(bytes) };
    with(|host| host.loaded(at(now_ms), number as Number, found));
}

/// See [`Host::stored`]. `how`: 0 done, 1 got these bytes, 2 absent, 3 conflict, 4 failed with this message.
#[unsafe(no_mangle)]
unsafe extern "C" fn stored(now_ms: f64, number: f64, how: u32, bytes: *mut u8, len: usize) {
    let bytes = unsafe { take(bytes, len, len) };
    let end = match how {
        0 => StoreEnd::Done,
        1 => StoreEnd::Got(bytes),
        2 => StoreEnd::Absent,
        3 => StoreEnd::Conflict,
        _ => StoreEnd::Failed(String::from_utf8_lossy(&bytes).into_owned()),
    };
    with(|host| host.stored(at(now_ms), number as Number, end));
}
