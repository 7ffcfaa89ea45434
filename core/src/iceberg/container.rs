//! Reads Avro object container files (Avro 1.12 specification, "Object Container Files"). Values, schemas and codecs are
//! the `apache-avro` crate's.
//!
//! The container is read by hand, because the crate parses the schema of each file anew, which takes many times as long as
//! all else about a small manifest, and allocates what a damaged file claims to hold.

use std::str::FromStr;
use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::Schema;
use apache_avro::types::Value;
use apache_avro::{Codec, Error};

use super::manifest::ManifestError;

/// Manifests and manifest lists, each as it is written here and by one other writer.
const SCHEMAS_KEPT: usize = 4;

/// The schemas that a reader of many files parsed last, under their text.
#[derive(Debug, Default)]
pub struct Schemas(Vec<(Vec<u8>, Arc<Schema>)>);

impl Schemas {
    /// The schema of a text, which is parsed if it is not one of the last.
    fn of(&mut self, text: &[u8]) -> Result<Arc<Schema>, ManifestError> {
        if let Some((_, schema)) = self.0.iter().find(|(known, _)| known == text) {
            return Ok(schema.clone());
        }
        let json = serde_json::from_slice(text).map_err(|error| wrong(format!("its schema is no JSON: {error}")))?;
        let schema = Arc::new(Schema::parse(&json).map_err(|error| of_library(&error))?);
        self.0.truncate(SCHEMAS_KEPT - 1);
        self.0.insert(0, (text.to_vec(), schema.clone()));
        Ok(schema)
    }
}

/// A container file whose header was read.
pub(super) struct Container<'a> {
    schema: Arc<Schema>,
    codec: Codec,
    marker: [u8; 16],
    blocks: Bytes<'a>,
}

impl<'a> Container<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ManifestError::Avro`]: it is no container file, or its schema or codec is not known.
    pub(super) fn open(file: &'a [u8], schemas: &mut Schemas) -> Result<Container<'a>, ManifestError> {
        let mut rest = Bytes(file);
        if rest.take(4) != Some(b"Obj\x01") {
            return Err(wrong("it does not begin with `Obj` and 1"));
        }
        let (mut schema, mut codec) = (None, Codec::Null);
        while let Some(count) = rest.count().ok_or_else(cut_short)? {
            for _ in 0..count {
                match (rest.bytes().ok_or_else(cut_short)?, rest.bytes().ok_or_else(cut_short)?) {
                    (b"avro.schema", text) => schema = Some(schemas.of(text)?),
                    (b"avro.codec", name) => codec = codec_of(name)?,
                    _ => {}
                }
            }
        }
        let schema = schema.ok_or_else(|| wrong("it has no schema"))?;
        let marker = rest.take(16).and_then(|marker| marker.try_into().ok()).ok_or_else(cut_short)?;
        Ok(Container { schema, codec, marker, blocks: rest })
    }

    /// What its records are.
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Decodes one record after another; `each` takes them and says what it expected if one is something else.
    ///
    /// # Errors
    /// The file is damaged or cut short, or what `each` said.
    pub(super) fn records(
        mut self,
        mut each: impl FnMut(Value) -> Result<(), &'static str>,
    ) -> Result<(), ManifestError> {
        let datum = GenericDatumReader::builder(&self.schema).build().map_err(|error| of_library(&error))?;
        let mut record = 0;
        while !self.blocks.0.is_empty() {
            let count = self.blocks.size().ok_or_else(cut_short)?;
            let raw = self.blocks.bytes().ok_or_else(cut_short)?;
            if self.blocks.take(16) != Some(&self.marker) {
                return Err(wrong("a block does not end with the marker of the header"));
            }
            let inflated;
            let mut rest = match self.codec {
                Codec::Null => raw,
                codec @ Codec::Deflate(_) => {
                    let mut block = raw.to_vec();
                    codec.decompress(&mut block).map_err(|error| of_library(&error))?;
                    inflated = block;
                    &inflated
                }
            };
            for _ in 0..count {
                // No record of Iceberg's is empty: of those, a few bytes could claim any number.
                if rest.is_empty() {
                    return Err(cut_short());
                }
                let value = datum.read_value(&mut rest).map_err(|error| of_library(&error))?;
                each(value).map_err(|expected| ManifestError::Record { record, expected })?;
                record += 1;
            }
        }
        Ok(())
    }
}

fn codec_of(name: &[u8]) -> Result<Codec, ManifestError> {
    let name = String::from_utf8_lossy(name);
    Codec::from_str(&name)
        .map_err(|_| wrong(format!("its blocks are compressed with {name:?}; deflate and null are read")))
}

fn wrong(what: impl Into<String>) -> ManifestError {
    ManifestError::Avro(what.into())
}

fn cut_short() -> ManifestError {
    wrong("it is cut short, or a length in it is wrong")
}

fn of_library(error: &Error) -> ManifestError {
    wrong(error.to_string())
}

/// What is left of a file. `None` where it says more than there is.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let mut raw = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        None
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.long()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.size()?;
        self.take(length)
    }

    /// How many entries of a map come next; `Some(None)` after its last. A negative count has the size in bytes beside it.
    fn count(&mut self) -> Option<Option<u64>> {
        let count = self.long()?;
        if count < 0 {
            self.size()?;
        }
        Some((count != 0).then_some(count.unsigned_abs()))
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
