//! What a run does: settings, workload, and which faults with which weight, all drawn from its seed (a *swarm*).
//!
//! Each fault is a possibility of the real system; what it stands for is said at its field. Weights are chances in a
//! million.

use dolake_core::Config;
use dolake_core::config::Compression;
use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// Room for all that sources send to a table that stays broken: where there is none, everything waits for it.
const PARKED_BYTES: u64 = 64 << 20;

/// Chances of faults, in a million. Each field names when it is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// After each step: the memory is gone, the sockets stay (Durable Objects hibernate).
    pub evict: u32,
    /// After each step: the process is killed; sockets and requests die.
    pub crash: u32,
    /// After each command of a step: the process is killed between it and the next.
    pub crash_between_commands: u32,
    /// After each step: the operator stops the process (SIGTERM).
    pub shutdown: u32,
    /// For each save: refused, nothing written (disk full).
    pub save_refused: u32,
    /// For each save: written, but reported as unknown.
    pub save_unknown_applied: u32,
    /// For each save: not written, and reported as unknown.
    pub save_unknown_lost: u32,
    /// For each load: refused.
    pub load_refused: u32,
    /// For each store command: refused (429, 503).
    pub store_refused: u32,
    /// For each put: stored, reported as unknown (cut connection after the fact).
    pub store_unknown_applied: u32,
    /// For each store command: not carried out, reported as unknown.
    pub store_unknown_lost: u32,
    /// For each put: reported as unknown, stored up to a minute later, also after a restart.
    pub store_lands_late: u32,
    /// For each store command: takes seconds.
    pub store_slow: u32,
    /// Each second: everything of the store is refused or unknown for a while.
    pub outage: u32,
    /// Each second: the folders of some tables take no writes for a while (a prefix whose rights were taken away).
    pub table_outage: u32,
    /// For each piece of work: takes seconds.
    pub work_slow: u32,
    /// For each wake: comes late.
    pub wake_late: u32,
    /// After each step: a wake that nobody asked for.
    pub wake_spurious: u32,
    /// Each second: the host's clock jumps, ahead by hours or back.
    pub clock_jump: u32,
    /// For each turn of a producer: one of its connections is cut.
    pub cut: u32,
    /// For each turn of a producer: one more connection is opened.
    pub extra_connection: u32,
    /// For each batch: withheld for a while, so that a hole opens.
    pub withhold: u32,
    /// For each turn of a producer: what waits is sent in another order.
    pub shuffle: u32,
    /// For each batch: it goes by another source's socket, as through a gateway.
    pub gateway: u32,
    /// For each turn of a producer: an acked batch is sent again.
    pub resend: u32,
    /// For each turn of a producer: another batch under an acked number.
    pub impostor: u32,
    /// For each turn of a producer: a message that is none.
    pub malformed: u32,
    /// For each connection: its peer does not read.
    pub never_reads: u32,
    /// For each turn of a producer: it starts over with a new epoch.
    pub new_epoch: u32,
    /// For each `POST /cdc`: its answer is lost; and once more: its client goes away before it is answered.
    pub call_cut: u32,
    /// For each turn of a real producer: its process is killed, and begins anew without memory.
    pub producer_crash: u32,
    /// For each `POST /cdc`: it is sent first as what is refused before its source is asked.
    pub call_spoilt: u32,
    /// Each second: what is read of a table's metadata is damaged for a while (cut short, or written by something else).
    pub damage: u32,
    /// For each turn of a sparse source that waits for no answer: it sends hundreds of batches at once.
    pub crowd: u32,
    /// For each life that begins when there are tables: its operator names another store.
    pub other_store: u32,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The machine's settings.
    pub config: Config,
    /// The faults.
    pub faults: Faults,
    /// Sources.
    pub sources: u64,
    /// Length of their names, at least.
    pub name_bytes: u64,
    /// Batches of each source.
    pub batches: u64,
    /// Events of a batch, at most.
    pub batch_events_max: u64,
    /// Chance that a row's field has another type than usual.
    pub drift: u32,
    /// Chance that a batch begins with events of the one before.
    pub overlap: u32,
    /// Chance that batch and event numbers jump where nothing is missing.
    pub number_jumps: u32,
    /// Whether withheld batches may stay away until their hole is closed.
    pub holes_close: bool,
    /// Time between two turns of a producer, at most, in milliseconds.
    pub turn_ms: u64,
    /// How long a message is on its way, at most, in milliseconds. Those of one connection keep their order.
    pub net_ms: u64,
    /// Chance for each turn of an HTTP request or a control message.
    pub asks: u32,
    /// Chance that a source is a real producer's.
    pub real_producers: u32,
    /// Chance that a source's numbers are sparse by nature. Of those, the ones that no real producer sends are sent in any
    /// order and on several sockets.
    pub sparse: u32,
    /// Chance for each second that settings are changed.
    pub changes: u32,
    /// Chance that a source sends by `POST /cdc`, a third of them several at once and in any order.
    pub posts: u32,
    /// How long faults go on, in milliseconds.
    pub chaos_ms: u64,
    /// Chance that a batch has a value of more than a mebibyte, so that its journal entry has several chunks.
    pub fat: u32,
    /// Whether one table's folder stays broken when all else is healthy again.
    pub stays_broken: bool,
    /// Whether the host dies or is evicted once more in calm times, so that a life has nothing but its own deadlines.
    pub last_blow: bool,
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Profile {
    /// Many faults in little time: what a search makes by the thousand.
    #[default]
    Short,
    /// Few faults and much data: hundreds of commits, merged manifests, expired snapshots.
    Deep,
    /// As short, and one part stays broken for good: the others must come through.
    Liveness,
}

impl Plan {
    /// No fault, one source, nothing special: what kept runs are told apart from, so it stays as it is.
    pub fn calm() -> Plan {
        Plan {
            config: Config {
                flush_threshold_ms: 2_000,
                flush_interval_ms: 2_000,
                max_payload_size: 16_384,
                max_event_size: 8_192,
                base_retry_delay_ms: 50,
                max_retry_delay_ms: 2_000,
                deduplication_window_ms: 3_600_000,
                ..Config::default()
            },
            faults: Faults::default(),
            sources: 1,
            name_bytes: 1,
            batches: 40,
            batch_events_max: 8,
            drift: 0,
            overlap: 0,
            number_jumps: 0,
            holes_close: false,
            turn_ms: 100,
            net_ms: 20,
            asks: 0,
            real_producers: 0,
            sparse: 0,
            posts: 0,
            changes: 0,
            chaos_ms: 5_000,
            fat: 0,
            stays_broken: false,
            last_blow: false,
        }
    }

    /// The run of a seed, in the given length.
    pub fn with_profile(seed: u64, profile: Profile) -> Plan {
        let plan = Plan::of(seed);
        match profile {
            Profile::Short => plan,
            Profile::Liveness => plan.that_stays_broken(),
            Profile::Deep => plan.deep(seed),
        }
    }

    fn that_stays_broken(self) -> Plan {
        let config = Config { max_parked_bytes: PARKED_BYTES, deduplication_window_ms: 3_600_000, ..self.config };
        Plan { config, stays_broken: true, fat: 0, holes_close: false, ..self }
    }

    /// A plain day: the default settings, one source with about so many events a second, a few faults.
    pub fn plain(events_a_second: u64, seconds: u64) -> Plan {
        let events = events_a_second.isqrt().max(1);
        // A turn makes 1.5 batches of about half of the events each, and the next comes after half of the time.
        let turn_ms = if events == 1 { 3_000 } else { 1_500 * events / events_a_second };
        Plan {
            config: Config { deduplication_window_ms: 3_600_000, max_snapshots: 100, ..Config::default() },
            faults: Faults { evict: 100, crash: 10, store_refused: 10_000, ..Faults::default() },
            batches: 1 << 40,
            batch_events_max: events,
            turn_ms,
            chaos_ms: seconds * 1_000,
            ..Plan::calm()
        }
    }

    fn deep(self, seed: u64) -> Plan {
        let mut rng = Rng::new(seed, "deep");
        let config = Config {
            flush_threshold_events: *rng.pick(&[5, 20]),
            flush_threshold_ms: 2_000,
            flush_interval_ms: 2_000,
            parquet_compression: Compression::None,
            ..self.config
        };
        let faults = if rng.below(2) == 0 { few_faults(&mut rng) } else { Faults::default() };
        let (sources, batches) = (rng.between(1, 2), rng.between(150, 400));
        Plan { config, faults, sources, batches, chaos_ms: rng.between(60_000, 300_000), turn_ms: 500, ..self }
    }

    /// The run of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed, "plan");
        let holes_close = rng.below(4) == 0;
        let faults = if rng.below(5) == 0 { few_faults(&mut rng) } else { swarm(&mut rng) };
        let mut config = config(&mut rng, holes_close);
        let mut faults = faults;
        // Drawn apart, so that seeds keep the runs that they had.
        let mut apart = Rng::new(seed, "table outages");
        if apart.below(3) == 0 {
            faults.table_outage = *apart.pick(&[30_000, 100_000, 300_000]);
            config.max_parked_bytes = *apart.pick(&[2_000, 8_000, 1 << 20]);
        }
        let mut apart = Rng::new(seed, "widened");
        let fat = if apart.below(60) == 0 { 50_000 } else { 0 };
        if fat > 0 {
            config.max_event_size = 2 << 20;
            config.max_payload_size = 4 << 20;
            config.memory_budget_bytes = 16 << 20;
            config.max_buffer_size = 32 << 20;
            config.max_hole_bytes = 8 << 20;
            config.max_parked_bytes = 8 << 20;
        }
        let stays_broken = fat == 0 && !holes_close && apart.below(6) == 0;
        if stays_broken {
            config.max_parked_bytes = PARKED_BYTES;
        }
        let mut apart = Rng::new(seed, "sparse");
        let sparse = if apart.below(5) == 0 { *apart.pick(&[500_000, 1_000_000]) } else { 0 };
        if fat == 0 && apart.below(if sparse > 0 { 2 } else { 8 }) == 0 {
            // Full time and again, and soon empty: batches are refused and come again, what is above them must not pass over
            // them nor leave them no room.
            config.flush_threshold_bytes = 2_000;
            config.flush_threshold_ms = 300;
            config.flush_interval_ms = 500;
            config.max_buffer_size = 8_192;
            config.max_payload_size = 8_192;
            config.enable_fallback = false;
        }
        if sparse > 0 && fat == 0 && Rng::new(seed, "crowds").below(3) == 0 {
            faults.crowd = 20_000;
        }
        let mut apart = Rng::new(seed, "posts");
        let posts = if apart.below(5) == 0 { *apart.pick(&[300_000, 1_000_000]) } else { 0 };
        if posts > 0 && apart.below(2) == 0 {
            faults.call_cut = *apart.pick(&[30_000, 200_000]);
        }
        if posts > 0 && apart.below(2) == 0 {
            faults.call_spoilt = *apart.pick(&[30_000, 200_000]);
        }
        let mut apart = Rng::new(seed, "operator's mistakes");
        if apart.below(8) == 0 {
            faults.other_store = *apart.pick(&[100_000, 500_000]);
        }
        if apart.below(8) == 0 {
            faults.damage = *apart.pick(&[30_000, 100_000, 300_000]);
        }
        let mut apart = Rng::new(seed, "changes");
        let changes = if apart.below(6) == 0 && fat == 0 { *apart.pick(&[50_000, 500_000]) } else { 0 };
        let last_blow = apart.below(2) == 0;
        let mut apart = Rng::new(seed, "far away");
        let is_far = apart.below(if sparse > 0 { 2 } else { 6 }) == 0;
        let net_ms = if is_far { *apart.pick(&[200, 1_000]) } else { 20 };
        if is_far {
            // Of a crowd, one batch after the other would be far away.
            faults.crowd = 0;
        }
        let mut apart = Rng::new(seed, "nothing compared");
        let compares = sparse + posts + changes > 0 || holes_close || apart.below(12) > 0;
        config.enable_deduplication = compares;
        let mut apart = Rng::new(seed, "deaf peers");
        if fat == 0 && compares && apart.below(24) == 0 {
            // Acks are gathered for those that do not read.
            faults.never_reads = 500_000;
        }
        let mut apart = Rng::new(seed, "gateways");
        if apart.below(10) == 0 {
            faults.gateway = 300_000;
        }
        let mut apart = Rng::new(seed, "many shards");
        let are_many = fat == 0 && config.max_buffer_size > 8_192 && apart.below(24) == 0;
        if are_many {
            // Of so much, flushes of 2,000 bytes would make too many for the time.
            config.flush_threshold_bytes = config.flush_threshold_bytes.max(20_000);
        }
        let plan = Plan {
            fat,
            stays_broken,
            sparse,
            posts,
            changes,
            last_blow,
            config,
            faults,
            sources: rng.between(1, 4),
            name_bytes: 1,
            batches: rng.between(6, 30),
            batch_events_max: rng.between(1, 8),
            drift: if rng.below(2) == 0 { 0 } else { 100_000 },
            overlap: if rng.below(3) == 0 { 150_000 } else { 0 },
            number_jumps: if rng.below(3) == 0 { 200_000 } else { 0 },
            holes_close,
            turn_ms: *rng.pick(&[20, 100, 500, 2_000]),
            net_ms,
            asks: *rng.pick(&[0, 10_000, 100_000]),
            real_producers: *rng.pick(&[0, 500_000, 1_000_000]),
            chaos_ms: rng.between(4_000, 40_000),
        };
        // What a table says of them no longer stands in its properties.
        let plan =
            if are_many { Plan { sources: 20, name_bytes: 250, batches: apart.between(3, 8), ..plan } } else { plan };
        let mut apart = Rng::new(seed, "large batches");
        let is_large = plan.config.max_buffer_size == 8_192 && apart.below(4) == 0;
        // Some are larger than half of the buffer.
        let plan = if is_large { Plan { batch_events_max: 12, ..plan } } else { plan };
        // A producer of ours trusts resume numbers, which say nothing where nothing is compared.
        if compares { plan } else { Plan { overlap: 0, real_producers: 0, ..plan } }
    }
}

/// Codecs of runs, the calmest first.
fn compression(rng: &mut Rng) -> Compression {
    // A context of zstd is dear, and what is searched is not the codecs.
    match rng.below(32) {
        0..16 => Compression::None,
        16..30 => Compression::Snappy,
        30 => Compression::Gzip,
        _ => Compression::Zstd,
    }
}

/// Small thresholds, so that much happens in little time.
fn config(rng: &mut Rng, holes_close: bool) -> Config {
    let flush_interval_ms = *rng.pick(&[500, 2_000, 8_000]);
    Config {
        flush_threshold_events: *rng.pick(&[5, 20, 100, 10_000]),
        flush_threshold_bytes: *rng.pick(&[2_000, 20_000, 1 << 20]),
        flush_threshold_ms: *rng.pick(&[300, 2_000, 10_000]),
        flush_interval_ms,
        max_buffer_size: *rng.pick(&[65_536, 1 << 20]),
        enable_fallback: rng.below(2) == 0,
        max_fallback_size: 65_536,
        deduplication_window_ms: if holes_close { rng.between(2_000, 8_000) } else { 3_600_000 },
        parquet_row_group_size: *rng.pick(&[3, 50, 100_000]),
        parquet_compression: compression(rng),
        target_file_size_bytes: *rng.pick(&[2_000, 1 << 20]),
        max_payload_size: 16_384,
        max_event_size: 8_192,
        base_retry_delay_ms: 50,
        max_retry_delay_ms: *rng.pick(&[500, 2_000]),
        // Half of it keeps batches hot: in some runs, nearly all are cold.
        memory_budget_bytes: *rng.pick(&[65_536, 65_536, 1 << 22]),
        max_hole_bytes: *rng.pick(&[8_192, 1 << 20]),
        max_snapshots: *rng.pick(&[2, 5, 1_000]),
        ..Config::default()
    }
}

fn few_faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults::default();
    match rng.below(4) {
        0 => faults.crash = 2_000,
        1 => faults.evict = 20_000,
        2 => faults.store_refused = 50_000,
        _ => {}
    }
    faults
}

fn swarm(rng: &mut Rng) -> Faults {
    // Half of the faults are off; the others weigh between a tenth of their usual weight and three times it.
    let mut weigh = |usual: u32| -> u32 {
        if rng.below(2) == 0 { 0 } else { (usual / 10).saturating_mul(*rng.pick(&[1, 3, 10, 30])).min(500_000) }
    };
    Faults {
        evict: weigh(10_000),
        crash: weigh(2_000),
        crash_between_commands: weigh(1_000),
        shutdown: weigh(500),
        save_refused: weigh(10_000),
        save_unknown_applied: weigh(20_000),
        save_unknown_lost: weigh(20_000),
        load_refused: weigh(20_000),
        store_refused: weigh(50_000),
        store_unknown_applied: weigh(30_000),
        store_unknown_lost: weigh(30_000),
        store_lands_late: weigh(30_000),
        store_slow: weigh(50_000),
        outage: weigh(30_000),
        table_outage: 0,
        work_slow: weigh(100_000),
        wake_late: weigh(100_000),
        wake_spurious: weigh(10_000),
        clock_jump: weigh(50_000),
        cut: weigh(20_000),
        extra_connection: weigh(20_000),
        withhold: weigh(50_000),
        shuffle: weigh(100_000),
        resend: weigh(50_000),
        impostor: weigh(20_000),
        malformed: weigh(20_000),
        never_reads: weigh(30_000),
        new_epoch: weigh(5_000),
        call_cut: 0,
        gateway: 0,
        producer_crash: weigh(5_000),
        call_spoilt: 0,
        crowd: 0,
        damage: 0,
        other_store: 0,
    }
}
