//! `dolake-sim dump`: what a run has in its store at some moment, for other programs to read, or for later releases.

use std::path::{Path, PathBuf};

use dolake_sim::plan::{Plan, Profile};
use dolake_sim::record::Recorder;
use dolake_sim::saved::State;
use dolake_sim::world::World;
use serde_json::{Value, json};

use super::{Ended, code};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to", "state"])))]
pub(crate) struct Arguments {
    /// The seed.
    #[arg(long)]
    seed: u64,
    /// How long the run is
    #[arg(long, value_enum, default_value_t = Profile::Short)]
    profile: Profile,
    /// The moment, in simulated milliseconds; the end unless it is said.
    #[arg(long, value_name = "MS")]
    at: Option<u64>,
    /// A new folder: `lake` is the store, `tables.json` names each table's current metadata, `rows.jsonl` has the
    /// events that must be in them.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Keeps journal, store, and what was made up in this file, for tests of later releases
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

pub(crate) fn dump(arguments: &Arguments) -> Ended {
    let Arguments { seed, profile, at, to, state } = arguments;
    let plan = Plan::with_profile(*seed, *profile);
    let mut world = World::new(*seed, plan.clone(), false, Recorder::hashing());
    if let Some(folder) = to {
        std::fs::create_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lake = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?.join("lake");
        world = world.at_location(format!("file://{}", lake.display()));
    }
    let is_over = world.run_until(at.unwrap_or(u64::MAX));
    if let Some(violation) = world.violation() {
        println!("{}: {}", violation.check, violation.message);
        return Ok(code(true));
    }
    if let Some(folder) = to {
        write_lake(&world, folder)?;
    }
    if let Some(file) = state {
        write(file, State::of(*seed, &plan, &world).write() + "\n")?;
    }
    let (tables, rows) = (world.tables().count(), world.in_lake().count());
    let when = if is_over { "at the end" } else { "in its middle" };
    println!("seed {seed} {when}, at {} ms: {tables} tables, {rows} rows", world.simulated_ms());
    Ok(code(false))
}

fn write_lake(world: &World, folder: &Path) -> Result<(), String> {
    for (key, bytes) in world.store().objects() {
        let path = folder.join("lake").join(key);
        let parent = path.parent().ok_or_else(|| format!("{key} has no folder"))?;
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        write(&path, bytes)?;
    }
    let tables: serde_json::Map<String, Value> =
        world.tables().map(|(table, metadata)| (table.clone(), json!(metadata))).collect();
    write(&folder.join("tables.json"), Value::from(tables).to_string() + "\n")?;
    let mut rows = String::new();
    for (stream, event) in world.in_lake() {
        // As it was sent, every digit of it.
        let (source, epoch, event) = (json!(stream.source), json!(stream.epoch), &event.json);
        rows.push_str(&format!("{{\"source\":{source},\"epoch\":{epoch},\"event\":{event}}}\n"));
    }
    write(&folder.join("rows.jsonl"), rows)
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
