//! Finds the store that the operator named.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{ClientOptions, RetryConfig};

use super::Store;
use super::witness::WitnessConnector;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For one request, of at most one part.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a store cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder that cannot be made, read or written.
    #[error("store {folder}: expected a folder that can be read and written, got: {source}; choose another --store")]
    Folder {
        /// As it was given.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A URL that names no bucket, or another kind of store.
    #[error("store {url}: expected a folder or s3://BUCKET/PREFIX, got {got}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        got: &'static str,
    },
    /// An endpoint without encryption that is not on this machine.
    #[error(
        "store endpoint {endpoint}: expected https (plain http only for this machine itself); \
         set AWS_ALLOW_HTTP=true to send data and keys in the clear"
    )]
    Plain {
        /// As it was given.
        endpoint: String,
    },
    /// Settings that cannot be.
    #[error("store {url}: {source}; check the AWS_… variables")]
    Settings {
        /// As it was given.
        url: String,
        /// What the client said.
        source: object_store::Error,
    },
}

impl Store {
    /// Opens a folder (making it if need be) or `s3://BUCKET/PREFIX`, with credentials, region and endpoint from
    /// the `AWS_…` environment variables.
    ///
    /// # Errors
    /// See [`OpenError`]. That a bucket is missing shows only when it is used.
    pub fn open(place: &str) -> Result<Store, OpenError> {
        match place.split_once("://") {
            None => open_folder(Path::new(place), true),
            Some(("file", path)) => open_folder(Path::new(path), true),
            Some(("s3", _)) => Store::open_s3(AmazonS3Builder::from_env(), place, WitnessConnector::default()),
            Some(_) => Err(OpenError::Url { url: place.to_owned(), got: "another scheme" }),
        }
    }

    /// Opens `s3://BUCKET/PREFIX` with the settings that `builder` holds already, over connections of `connector`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_s3(builder: AmazonS3Builder, url: &str, connector: WitnessConnector) -> Result<Store, OpenError> {
        open_s3(builder, url, connector)
    }

    /// Like [`Store::open`], for one who only reads: a folder must be there already.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_to_read(place: &str) -> Result<Store, OpenError> {
        match place.split_once("://") {
            None => open_folder(Path::new(place), false),
            Some(("file", path)) => open_folder(Path::new(path), false),
            Some(_) => Store::open(place),
        }
    }
}

/// Whether the place is a folder on this machine; then its path.
pub fn folder_of(place: &str) -> Option<&Path> {
    match place.split_once("://") {
        None => Some(Path::new(place)),
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
    }
}

fn open_folder(folder: &Path, write: bool) -> Result<Store, OpenError> {
    let explain = |source| OpenError::Folder { folder: folder.display().to_string(), source };
    if write {
        std::fs::create_dir_all(folder).map_err(explain)?;
        probe(folder).map_err(explain)?;
    }
    let root = folder.canonicalize().map_err(explain)?;
    let location = format!("file://{}", root.display());
    let objects = LocalFileSystem::new_with_prefix(&root)
        .map_err(|source| OpenError::Settings { url: location.clone(), source })?
        .with_fsync(true);
    Ok(Store { objects: Arc::new(objects), prefix: String::new(), location, parts: false })
}

/// Fails now rather than at the first flush.
fn probe(folder: &Path) -> std::io::Result<()> {
    let file = folder.join(format!(".dolake-probe-{}", std::process::id()));
    std::fs::write(&file, b"")?;
    std::fs::remove_file(&file)
}

fn open_s3(mut builder: AmazonS3Builder, url: &str, connector: WitnessConnector) -> Result<Store, OpenError> {
    let bad = |got| OpenError::Url { url: url.to_owned(), got };
    let rest = url.strip_prefix("s3://").ok_or_else(|| bad("another scheme"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.is_empty() {
        return Err(bad("no bucket"));
    }
    if !prefix.is_empty() && prefix.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(bad("a prefix with an empty part"));
    }
    let allows_http = builder.get_config_value(&AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp));
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    let plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let local = endpoint.as_deref().is_some_and(is_loopback);
    if plain && !local && allows_http.as_deref() != Some("true") {
        return Err(OpenError::Plain { endpoint: endpoint.unwrap_or_default() });
    }
    let options =
        ClientOptions::new().with_allow_http(plain).with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    builder = builder
        .with_bucket_name(bucket)
        .with_client_options(options)
        .with_retry(retry)
        .with_disable_bulk_delete(true)
        .with_http_connector(connector);
    let objects = builder.build().map_err(|source| OpenError::Settings { url: url.to_owned(), source })?;
    let (prefix, location) = match prefix {
        "" => (String::new(), format!("s3://{bucket}")),
        prefix => (format!("{prefix}/"), format!("s3://{bucket}/{prefix}")),
    };
    Ok(Store { objects: Arc::new(objects), prefix, location, parts: true })
}

fn is_loopback(endpoint: &str) -> bool {
    let authority = endpoint.trim_start_matches("http://").split('/').next().unwrap_or("");
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for endpoint in ["http://localhost:9000", "http://127.0.0.1", "http://[::1]:9000/x"] {
            assert!(is_loopback(endpoint), "{endpoint}");
        }
        for endpoint in ["http://example.com", "http://localhost.example.com:80", "http://10.0.0.1:9000", "http://"] {
            assert!(!is_loopback(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn a_place_that_is_no_store_is_named_with_what_was_expected() {
        let check = |place: &str, expected: &str| {
            assert_eq!(Store::open(place).expect_err("no store").to_string(), expected);
        };
        check("s3://", "store s3://: expected a folder or s3://BUCKET/PREFIX, got no bucket");
        check(
            "s3://b/x//y",
            "store s3://b/x//y: expected a folder or s3://BUCKET/PREFIX, got a prefix with an empty part",
        );
        check("gs://b/x", "store gs://b/x: expected a folder or s3://BUCKET/PREFIX, got another scheme");
    }

    #[test]
    fn the_location_of_a_bucket_has_no_slash_at_its_end() {
        for (place, location) in [("s3://b", "s3://b"), ("s3://b/", "s3://b"), ("s3://b/x/y/", "s3://b/x/y")] {
            assert_eq!(Store::open(place).expect("opens without a connection").location(), location);
        }
    }
}
