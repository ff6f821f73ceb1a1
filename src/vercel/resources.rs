//! The resources of an installation, as Vercel lists them (L1).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::calls::shown;
use crate::ids::ResourceId;
use crate::json;

/// How many characters of a name, a product or a status are kept: an item of the table has at most 400 KB.
const MAX_NAME: usize = 1000;

/// The resources that Vercel has for an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList {
    /// The resources whose `partnerId` is a valid id (B2), each resource once.
    pub resources: BTreeMap<ResourceId, ListedResource>,
    /// The ids of the resources without a valid `partnerId` (B2). If a resource has no `partnerId`, `bad_ids`
    /// contains the resource's `internalId`.
    pub bad_ids: Vec<String>,
}

/// A resource that Vercel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedResource {
    /// `partnerId`: the id that the provider gave the resource.
    pub id: ResourceId,
    /// `name`.
    pub name: Option<String>,
    /// `productId`.
    pub product: Option<String>,
    /// `status`, as the text that Vercel sent.
    pub status: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    resources: Vec<Value>,
}

impl ResourceList {
    /// Reads the resources from the body of Vercel's answer. `None` if the body has no list of resources.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let (mut list, nothing) = (Self::default(), Map::new());
        for entry in json::from_slice::<Body>(body).ok()?.resources {
            let fields = entry.as_object().unwrap_or(&nothing);
            let id = text(fields, "partnerId");
            if let Some(id) = id.and_then(|id| ResourceId::parse(id).ok()) {
                let listed = ListedResource::read(id.clone(), fields);
                list.resources.entry(id).or_insert(listed);
            } else {
                let id = id.or(text(fields, "internalId"));
                list.bad_ids.push(shown(id.unwrap_or_default()));
            }
        }
        list.bad_ids.sort();
        list.bad_ids.dedup();
        Some(list)
    }
}

impl ListedResource {
    fn read(id: ResourceId, fields: &Map<String, Value>) -> Self {
        let bounded = |name| text(fields, name).map(|text| text.chars().take(MAX_NAME).collect());
        Self { id, name: bounded("name"), product: bounded("productId"), status: bounded("status") }
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<ResourceList> {
        ResourceList::parse(body.as_bytes())
    }

    /// L1: `partnerId` is the provider's id of a resource. A repeated `partnerId` counts once. A field of the
    /// wrong type counts as absent.
    #[test]
    fn a_list_is_read() {
        let list = read(
            r#"{"resources":[
                {"partnerId":"db_2","internalId":"store_2","name":"two","productId":"iap_1","status":"ready","x":1},
                {"partnerId":"db_1","name":1,"status":null},
                {"partnerId":"db_2","name":"again"}],"next":null}"#,
        )
        .unwrap();
        let ids: Vec<_> = list.resources.keys().map(ResourceId::as_str).collect();
        assert_eq!((ids, list.bad_ids.len()), (vec!["db_1", "db_2"], 0));
        let text = |text: &str| Some(text.to_owned());
        let id = ResourceId::parse("db_2").unwrap();
        assert_eq!(
            list.resources[&id],
            ListedResource {
                id: id.clone(),
                name: text("two"),
                product: text("iap_1"),
                status: text("ready"),
            }
        );
        assert_eq!(list.resources.values().next().unwrap().name, None);
        assert_eq!(read(r#"{"resources":[]}"#), Some(ResourceList::default()));
    }

    /// L1: an id that breaks rule B2 goes into a separate list, and its line breaks become blanks.
    #[test]
    fn bad_ids_are_kept_apart() {
        let list = read(
            r#"{"resources":[{"partnerId":"a/b"},{"partnerId":"a/b"},{"partnerId":"x\ny","internalId":"s"},
                {"internalId":"store_1"},{"partnerId":5},"text",{"partnerId":"db_1"}]}"#,
        )
        .unwrap();
        assert_eq!(list.bad_ids, ["", "a/b", "store_1", "x y"]);
        assert_eq!(list.resources.len(), 1);
    }

    /// A body without a list of resources is not read as an empty list.
    #[test]
    fn no_list_is_not_an_empty_one() {
        for body in
            ["", "[]", "{}", r#"{"resources":null}"#, r#"{"resources":{}}"#, "<html>", "null"]
        {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
