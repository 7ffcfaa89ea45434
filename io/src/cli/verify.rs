//! `dolake verify`: walks a whole lake and fails on the first thing that is not as it says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dolake_core::catalog::{TableIdent, TablePointer};
use dolake_core::verify::{Ranges, SourceEpoch, TableReport, Untruth, verify_table};
use serde::Serialize;

use super::columns;
use super::exit::Exit;
use super::lake_view::{LakeView, LookError};
use crate::journal;
use crate::journal::db::{self, Db};

/// Which lake to verify.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the lake lies
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX", default_value = "./lake", env = "DOLAKE_STORE")]
    pub store: String,
    /// The journal of a server that is not running: verifies too that the store holds every table it knows, at the
    /// version that it knows
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Print a JSON object instead of words
    #[arg(long)]
    pub json: bool,
}
