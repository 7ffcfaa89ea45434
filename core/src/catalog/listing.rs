//! Listings of namespaces and tables, whole or page by page.
//!
//! A page's token is the name that the page ended with. So a listing that goes on while tables come and go neither
//! repeats a name nor leaves one out that was there all the time.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catalog::{CatalogView, TableIdent};
use crate::http::error::{ErrorKind, HttpError};
use crate::http::respond::Answer;

/// Which part of a listing is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// All of it: the client did not say that it knows pages.
    All,
    /// The names after those that were listed already.
    After {
        /// From the page before; empty for the first.
        token: String,
        /// Names that the page holds at most.
        size: usize,
    },
}

/// `ListNamespacesResponse`: the namespaces one level below `parent`.
pub(super) fn namespaces(view: &CatalogView<'_>, parent: &[String], page: &Page) -> Result<Answer, HttpError> {
    view.require_namespace(parent)?;
    let tables = view.tables.keys().map(|ident| &ident.namespace);
    let below = view.namespaces.keys().chain(tables).filter(|namespace| namespace.starts_with(parent));
    let mut names: Vec<&str> = below.filter_map(|namespace| namespace.get(parent.len())).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let (names, next) = cut(names, page)?;
    let paths: Vec<Vec<&str>> =
        names.into_iter().map(|name| parent.iter().map(String::as_str).chain([name]).collect()).collect();
    Ok(Answer::json(200, &json!({ "namespaces": paths, "next-page-token": next })))
}

/// `ListTablesResponse`: the tables right in `namespace`.
pub(super) fn tables(view: &CatalogView<'_>, namespace: &[String], page: &Page) -> Result<Answer, HttpError> {
    view.require_namespace(namespace)?;
    let from = TableIdent { namespace: namespace.to_vec(), name: String::new() };
    let inside = view.tables.range(from..).take_while(|(ident, _)| ident.namespace == namespace);
    let names: Vec<&str> = inside.map(|(ident, _)| ident.name.as_str()).collect();
    let (names, next) = cut(names, page)?;
    let identifiers: Vec<Value> =
        names.into_iter().map(|name| json!({ "namespace": namespace, "name": name })).collect();
    Ok(Answer::json(200, &json!({ "identifiers": identifiers, "next-page-token": next })))
}

/// The names of a page, and the token of the next one if there is one. `names` are sorted.
fn cut<'a>(mut names: Vec<&'a str>, page: &Page) -> Result<(Vec<&'a str>, Option<String>), HttpError> {
    let Page::After { token, size } = page else { return Ok((names, None)) };
    let after = from_token(token)?;
    names.retain(|name| after.is_empty() || *name > after.as_str());
    let more = names.len() > *size;
    names.truncate(*size);
    let next = names.last().filter(|_| more).map(|last| to_token(last));
    Ok((names, next))
}

/// Hexadecimal: some clients do not encode what they put into a query.
fn to_token(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn from_token(token: &str) -> Result<String, HttpError> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let digits: Option<Vec<u8>> = token.as_bytes().iter().map(digit).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2));
    let bytes = digits
        .map(|digits| digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        let message = format!("query parameter pageToken: expected the last answer's next-page-token, got {token:?}");
        HttpError::catalog(ErrorKind::InvalidRequest, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let names = ["a", "b", "ü", "日"];
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let page = Page::After { token, size: 3 };
            let (names, next) = cut(names.to_vec(), &page).expect("a page");
            seen.push(names);
            let Some(next) = next else { break };
            token = next;
        }
        assert_eq!(seen, [vec!["a", "b", "ü"], vec!["日"]]);
    }

    #[test]
    fn a_last_page_that_is_full_names_no_next_one() {
        let page = Page::After { token: String::new(), size: 2 };
        assert_eq!(cut(vec!["a", "b"], &page), Ok((vec!["a", "b"], None)));
    }

    #[test]
    fn a_name_that_is_gone_does_not_disturb_the_next_page() {
        let page = Page::After { token: to_token("b"), size: 9 };
        assert_eq!(cut(vec!["a", "c"], &page), Ok((vec!["c"], None)));
    }

    #[test]
    fn a_token_that_is_not_ours_is_refused() {
        for token in ["x", "xy", "616", "ff", "+1", "é"] {
            let error = cut(vec![], &Page::After { token: token.to_owned(), size: 1 }).expect_err(token);
            assert_eq!(error.kind, ErrorKind::InvalidRequest);
        }
    }
}
