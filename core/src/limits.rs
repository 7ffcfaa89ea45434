//! Every limit that is not configurable, in one place, with its unit, asserted against the others at compile time.

/// What may stay with a hibernating socket: Cloudflare's limit for `serializeAttachment`.
pub const ATTACHMENT_BYTES_MAX: usize = 2_048;

/// Length of a source's name (`sourceDoId`), in bytes of UTF-8. It is part of journal keys.
pub const SOURCE_ID_BYTES_MAX: usize = 256;

/// Length of an epoch's name (`sourceEpoch`), in bytes of UTF-8. It is part of journal keys.
pub const SOURCE_EPOCH_BYTES_MAX: usize = 128;

/// Length of a message's `correlationId`, in bytes of UTF-8. It is held until the answer leaves.
pub const CORRELATION_ID_BYTES_MAX: usize = 256;

/// Length of a table name in an event, in bytes of UTF-8. Object stores take keys of 1,024 bytes in all.
pub const TABLE_NAME_BYTES_MAX: usize = 256;

/// Events of one batch.
pub const BATCH_EVENTS_MAX: usize = 100_000;

/// Different tables in one batch.
pub const BATCH_TABLES_MAX: usize = 1_024;

/// Nesting of any JSON that is read, so that no input can exhaust the stack.
pub const JSON_DEPTH_MAX: usize = 64;

/// Depth to which an object becomes an Iceberg struct; deeper ones become a string of JSON.
pub const STRUCT_DEPTH_MAX: usize = 8;

/// Keys of an object that becomes an Iceberg struct; with more it becomes a string of JSON.
pub const STRUCT_FIELDS_MAX: usize = 200;

/// Top-level columns of one table; the values of further ones are rescued.
pub const TABLE_COLUMNS_MAX: usize = 2_000;

/// Length of a column's name in bytes of UTF-8; the values of longer ones are rescued.
pub const COLUMN_NAME_BYTES_MAX: usize = 256;

/// Length of another engine's `fixed` column whose nulls are written out, in bytes: each takes that much memory. Longer
/// ones are left out of files, which reads as null too.
pub const FIXED_NULL_BYTES_MAX: u64 = 64;

/// Largest sequence number: what a JavaScript number holds exactly (2^53 - 1).
pub const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/// A journal value; longer ones are cut into chunks. Two of them fit into the smallest row limit that a host has.
pub const JOURNAL_CHUNK_BYTES: usize = 1 << 20;

/// Memory that a waiting batch counts as beside its frame, in bytes: its place in the buffer, in its source, and its key,
/// which a start reads. Measured with 4,000 to 15,000 batches of one event, of one source and of hundreds, after a
/// restart: 810 to 940 of a Durable Object's linear memory, 1,150 to 1,330 of a server's resident memory.
pub const BATCH_MEMORY_BYTES: u64 = 1_024;

/// `connect`s of one connection that wait for their source to be read from the journal. A producer says one.
pub const CONNECTS_WAITING_MAX: usize = 16;

/// Hashes of accepted batches that are kept for each source, to tell a duplicate from an impostor.
pub const HASHES_PER_SOURCE_MAX: usize = 1_000;

/// Hashes that are kept whatever their age.
pub const HASHES_PER_SOURCE_MIN: usize = 16;

/// Closed holes that an epoch may have; then the source must send another epoch.
pub const CLOSED_RANGES_MAX: usize = 10_000;

/// Holes of one source that may be open at once. Each has a clock in the source's control row.
pub const OPEN_HOLES_MAX: usize = 1_000;

/// How long a hole stays open while its source is not connected, in milliseconds.
pub const HOLE_AWAY_MS_MAX: u64 = 3_600_000;

/// Pieces of one batch that count, between events that were there before. They are part of its journal key.
pub const TAKEN_RANGES_MAX: usize = 64;

/// Epochs that a source may have. All are kept for good, so that a repeat of an old one is never taken for new.
pub const EPOCHS_PER_SOURCE_MAX: usize = 4_096;

/// Manifests of a snapshot above which small ones are merged.
pub const MANIFESTS_MAX: usize = 100;

/// Manifests that one commit merges: reading one costs about as much as ten commits.
pub const MANIFESTS_MERGED_MAX: usize = 25;

/// Size above which a manifest is not merged any more: Iceberg's `commit.manifest.target-size-bytes`.
pub const MANIFEST_BYTES_TARGET: u64 = 8 << 20;

/// Size of `dolake.frontier` that is kept inline in a table's properties; larger ones become an object.
pub const FRONTIER_INLINE_BYTES_MAX: usize = 4_096;

/// Size of `dolake.sources` in a snapshot's summary; where it would be larger, the sources are only counted.
pub const SUMMARY_SOURCES_BYTES_MAX: usize = 1_024;

/// What a connection that does not read may have waiting before it is closed.
pub const UNREAD_BYTES_MAX: usize = 1 << 20;

/// Requests for a flush that wait at once. Each is held until its answer leaves: some 400 bytes with the longest
/// `correlationId`, and an answer that names all files of the flush.
pub const FLUSH_REQUESTS_MAX: usize = 1_000;

/// Failed attempts after which a table is parked, while others get through.
pub const TABLE_ATTEMPTS_MAX: u32 = 3;

/// The body of an HTTP request other than a batch.
pub const REQUEST_BODY_BYTES_MAX: usize = 1 << 20;

/// Length of one level of a namespace, or of a table's name in it, in bytes of UTF-8. File systems take 255 for a
/// folder, and the folder may need a suffix.
pub const TABLE_PART_BYTES_MAX: usize = 200;

/// Names that one page of a catalog listing holds, also when the client asks for more or names no size.
pub const PAGE_SIZE_MAX: usize = 1_000;

/// How long `GET /v1/wait` waits when it does not say, in milliseconds.
pub const WAIT_TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// How long `GET /v1/wait` may wait, in milliseconds.
pub const WAIT_TIMEOUT_MS_MAX: u64 = 300_000;

const _: () = assert!(TABLE_PART_BYTES_MAX <= TABLE_NAME_BYTES_MAX);
const _: () = assert!(WAIT_TIMEOUT_MS_DEFAULT <= WAIT_TIMEOUT_MS_MAX);
const _: () = assert!(HASHES_PER_SOURCE_MIN <= HASHES_PER_SOURCE_MAX);
const _: () = assert!(OPEN_HOLES_MAX < CLOSED_RANGES_MAX);
const _: () = assert!(STRUCT_DEPTH_MAX < JSON_DEPTH_MAX);
const _: () = assert!(2 <= MANIFESTS_MERGED_MAX && MANIFESTS_MERGED_MAX < MANIFESTS_MAX);
const _: () = assert!(SEQUENCE_MAX < i64::MAX as u64);
