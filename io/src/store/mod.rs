//! The object store: a folder or S3, through the `object_store` crate.
//!
//! [`open`] finds it, this file puts, gets and deletes one object, [`outcome`] says what a failure means,
//! [`witness`] keeps what the crate's errors leave out, and [`queue`] serves the machine's commands by class. No
//! retries here: the machine decides them.

pub mod open;
pub mod outcome;
pub mod queue;
pub mod witness;

use std::sync::Arc;

use bytes::Bytes;
use dolake_core::command::{Condition, Failure, Outcome};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

pub use open::OpenError;
pub use queue::StoreQueue;

/// Larger objects go up in parts of this size: R2 wants all parts but the last equal, and at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// An object store, and where in it the lake lies.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Before every key: empty, or ending in `/`.
    prefix: String,
    location: String,
    /// Whether a large object goes up in parts.
    parts: bool,
}

/// An object found by [`Store::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Below the store's root.
    pub key: String,
    /// In bytes.
    pub size: u64,
}

impl Store {
    /// A store that is at hand already: `location` is its root, for readers.
    pub fn over(objects: Arc<dyn ObjectStore>, location: &str) -> Store {
        Store { objects, prefix: String::new(), location: location.to_owned(), parts: false }
    }

    /// The root as it is written into metadata: `file:///…` or `s3://bucket/prefix`, without a slash at its end.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Writes an object, whole or not at all. [`Outcome::Put`] only when it is durable.
    pub async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Outcome {
        let path = match self.path(key) {
            Ok(path) => path,
            Err(refused) => return refused,
        };
        let (result, seen) = witness::watch(async {
            match condition {
                Condition::Always if self.parts && bytes.len() > PART_BYTES => self.put_parts(&path, bytes).await,
                // A conditional upload in parts is not offered by all stores; S3 takes 5 GB in one.
                Condition::Always => self.put_whole(&path, bytes, PutMode::Overwrite).await,
                Condition::IfAbsent => self.put_whole(&path, bytes, PutMode::Create).await,
            }
        })
        .await;
        result.map_or_else(|error| outcome::of_put(&error, seen), |()| Outcome::Put)
    }

    async fn put_whole(&self, path: &Path, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
        let options = PutOptions { mode, ..PutOptions::default() };
        self.objects.put_opts(path, PutPayload::from(bytes), options).await.map(|_| ())
    }

    /// One part after the other, so that only one at a time is in the client's buffers.
    async fn put_parts(&self, path: &Path, mut bytes: Bytes) -> object_store::Result<()> {
        let mut upload = self.objects.put_multipart(path).await?;
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(PART_BYTES));
            if let Err(error) = upload.put_part(PutPayload::from(part)).await {
                // Best effort: what stays behind is invisible, and stores remove it by their own rules.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        upload.complete().await.map(|_| ())
    }

    /// Reads an object, or of it the bytes from the first number to before the second.
    pub async fn get(&self, key: &str, range: Option<(u64, u64)>) -> Outcome {
        let path = match self.path(key) {
            Ok(path) => path,
            Err(refused) => return refused,
        };
        let options =
            GetOptions { range: range.map(|(from, to)| GetRange::Bounded(from..to)), ..GetOptions::default() };
        let (result, seen) = witness::watch(async { self.objects.get_opts(&path, options).await?.bytes().await }).await;
        result.map_or_else(|error| outcome::of_get(&error, seen), Outcome::Got)
    }

    /// Deletes an object. That it was not there is no failure.
    pub async fn delete(&self, key: &str) -> Outcome {
        let path = match self.path(key) {
            Ok(path) => path,
            Err(refused) => return refused,
        };
        let (result, seen) = witness::watch(self.objects.delete(&path)).await;
        result.map_or_else(|error| outcome::of_delete(&error, seen), |()| Outcome::Deleted)
    }

    /// All objects whose key begins with `folder` (ending in `/`, or empty for all), in the order of their keys.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, folder: &str) -> object_store::Result<Vec<Listed>> {
        let path = Path::parse(format!("{}{folder}", self.prefix))?;
        let metas: Vec<_> = self.objects.list(Some(&path)).try_collect().await?;
        let mut listed: Vec<Listed> = metas
            .into_iter()
            .filter_map(|meta| {
                let key = meta.location.as_ref().strip_prefix(&self.prefix)?.to_owned();
                Some(Listed { key, size: meta.size })
            })
            .collect();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(listed)
    }

    /// Keys stand in the store as they are, without any escaping, since metadata names them so.
    fn path(&self, key: &str) -> Result<Path, Outcome> {
        Path::parse(format!("{}{key}", self.prefix)).map_err(|error| {
            Outcome::Refused(Failure { message: format!("store: key {key:?}: {error}"), retry_after_ms: None })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(folder.path().to_str().expect("UTF-8")).expect("opens");
        (folder, store)
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn what_was_put_can_be_got_whole_and_in_part() {
        let (_folder, store) = folder();
        assert_eq!(store.put("a/b/c", bytes("0123456789"), Condition::Always).await, Outcome::Put);
        assert_eq!(store.get("a/b/c", None).await, Outcome::Got(bytes("0123456789")));
        assert_eq!(store.get("a/b/c", Some((2, 5))).await, Outcome::Got(bytes("234")));
        assert_eq!(store.put("a/b/c", bytes("new"), Condition::Always).await, Outcome::Put);
        assert_eq!(store.get("a/b/c", None).await, Outcome::Got(bytes("new")));
    }

    #[tokio::test]
    async fn a_conditional_put_conflicts_with_what_is_there() {
        let (_folder, store) = folder();
        assert_eq!(store.put("k", bytes("first"), Condition::IfAbsent).await, Outcome::Put);
        assert_eq!(store.put("k", bytes("second"), Condition::IfAbsent).await, Outcome::Conflict);
        assert_eq!(store.get("k", None).await, Outcome::Got(bytes("first")));
    }

    #[tokio::test]
    async fn what_is_not_there_is_absent_and_deleting_it_is_no_failure() {
        let (_folder, store) = folder();
        assert_eq!(store.get("k", None).await, Outcome::Absent);
        assert_eq!(store.delete("k").await, Outcome::Deleted);
        assert_eq!(store.put("k", bytes("v"), Condition::Always).await, Outcome::Put);
        assert_eq!(store.delete("k").await, Outcome::Deleted);
        assert_eq!(store.get("k", None).await, Outcome::Absent);
    }

    #[tokio::test]
    async fn a_key_is_the_files_name_as_it_is() {
        let (folder, store) = folder();
        for key in ["warehouse/default/Flüge ✈/data/x.parquet", "a%20b/c d", "x=1/y[2]#3?4"] {
            assert_eq!(store.put(key, bytes("v"), Condition::Always).await, Outcome::Put, "{key}");
            assert_eq!(std::fs::read(folder.path().join(key)).expect(key), b"v");
            assert_eq!(store.get(key, None).await, Outcome::Got(bytes("v")), "{key}");
        }
    }

    #[tokio::test]
    async fn a_key_that_leaves_the_lake_is_refused() {
        let (_folder, store) = folder();
        for key in ["../x", "a//b", "a/./b"] {
            assert!(matches!(store.put(key, bytes("v"), Condition::Always).await, Outcome::Refused(_)), "{key}");
            assert!(matches!(store.get(key, None).await, Outcome::Refused(_)), "{key}");
        }
    }

    #[tokio::test]
    async fn a_put_into_a_folder_that_cannot_be_written_is_no_success() {
        let (folder, store) = folder();
        std::fs::write(folder.path().join("a"), b"a file where a folder should be").expect("writes");
        assert!(matches!(store.put("a/b", bytes("v"), Condition::Always).await, Outcome::Unknown(_)));
    }

    #[tokio::test]
    async fn a_listing_names_all_objects_below_a_folder_in_order() {
        let (_folder, store) = folder();
        for key in ["t/b", "t/a/1", "u/c", "t/a/0"] {
            assert_eq!(store.put(key, bytes("12345"), Condition::Always).await, Outcome::Put);
        }
        let keys = |listed: Vec<Listed>| listed.into_iter().map(|object| object.key).collect::<Vec<_>>();
        assert_eq!(keys(store.list("t/").await.expect("lists")), ["t/a/0", "t/a/1", "t/b"]);
        assert_eq!(keys(store.list("").await.expect("lists")).len(), 4);
        assert_eq!(store.list("u/").await.expect("lists"), [Listed { key: "u/c".to_owned(), size: 5 }]);
    }
}

/// The HTTP path, against a server that answers what a test tells it to.
#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]
mod http_tests {
    use axum::Router;
    use axum::http::{Method, StatusCode, Uri};
    use axum::response::IntoResponse;
    use object_store::aws::AmazonS3Builder;
    use tokio::net::TcpListener;

    use super::witness::WitnessConnector;
    use super::*;

    fn store_at(port: u16) -> Store {
        let builder = AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{port}"))
            .with_access_key_id("id")
            .with_secret_access_key("secret");
        Store::open_s3(builder, "s3://bucket/lake", WitnessConnector::default()).expect("opens")
    }

    async fn serve(router: Router) -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        store_at(port)
    }

    /// A server that answers everything with `status` and `Retry-After: 7`.
    async fn answering(status: u16) -> Store {
        let status = StatusCode::from_u16(status).expect("a status");
        serve(Router::new().fallback(move || async move { (status, [("retry-after", "7")], "<Error/>") })).await
    }

    #[track_caller]
    fn check(outcome: &Outcome, expected: &str, retry_after_ms: Option<u64>) {
        let (name, failure) = match outcome {
            Outcome::Refused(failure) => ("refused", failure),
            Outcome::Unknown(failure) => ("unknown", failure),
            other => panic!("expected a failure, got {other:?}"),
        };
        assert_eq!((name, failure.retry_after_ms), (expected, retry_after_ms), "{failure:?}");
    }

    #[tokio::test]
    async fn the_status_and_the_time_to_wait_reach_the_machine() {
        for (status, expected) in
            [(400, "refused"), (403, "refused"), (429, "refused"), (500, "unknown"), (503, "unknown")]
        {
            let store = answering(status).await;
            check(&store.put("k", Bytes::from_static(b"v"), Condition::Always).await, expected, Some(7_000));
            check(&store.get("k", None).await, expected, Some(7_000));
            check(&store.delete("k").await, expected, Some(7_000));
        }
    }

    #[tokio::test]
    async fn a_failed_precondition_is_a_conflict() {
        let store = answering(412).await;
        assert_eq!(store.put("k", Bytes::from_static(b"v"), Condition::IfAbsent).await, Outcome::Conflict);
    }

    #[tokio::test]
    async fn a_store_that_nobody_listens_for_had_no_effect() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        check(&store_at(port).put("k", Bytes::from_static(b"v"), Condition::Always).await, "refused", None);
    }

    #[tokio::test]
    async fn of_a_connection_that_is_cut_nobody_knows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Reads something of the request, then goes away without an answer.
                let _ = stream.readable().await;
                let _ = stream.try_read(&mut [0; 64]);
            }
        });
        check(&store_at(port).put("k", Bytes::from_static(b"v"), Condition::Always).await, "unknown", None);
    }

    #[tokio::test]
    async fn keys_lie_below_the_bucket_and_prefix_and_a_condition_is_sent() {
        let echo = |method: Method, uri: Uri, headers: axum::http::HeaderMap| async move {
            let condition = headers.get("if-none-match").map(|value| value.to_str().unwrap_or("").to_owned());
            let expected = (Method::PUT, "/bucket/lake/a/b%20c", Some("*".to_owned()));
            let status = if (method, uri.path(), condition) == expected { 200 } else { 418 };
            (StatusCode::from_u16(status).expect("a status"), [("etag", "\"x\"")], "").into_response()
        };
        let store = serve(Router::new().fallback(echo)).await;
        assert_eq!(store.put("a/b c", Bytes::from_static(b"v"), Condition::IfAbsent).await, Outcome::Put);
    }
}
