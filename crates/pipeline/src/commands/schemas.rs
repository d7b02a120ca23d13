//! The JSON Schemas of what goes in and comes out, as `btfpipe schema` prints them.

/// A schema and the word that asks for it.
pub const SCHEMAS: [(&str, &str); 4] = [
    ("event", include_str!("../../../../schema/event.json")),
    ("fragment", include_str!("../../../../schema/fragment.json")),
    ("pipeline", include_str!("../../../../schema/pipeline.json")),
    ("record", include_str!("../../../../schema/record.json")),
];

/// The schema of this name.
pub fn find(name: &str) -> Option<&'static str> {
    SCHEMAS.iter().find(|(known, _)| *known == name).map(|(_, schema)| *schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_json() {
        for (name, schema) in SCHEMAS {
            let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
            // Events gain fields; what people write has none that nobody reads.
            assert_eq!(schema["additionalProperties"] == false, name != "event", "{name}");
        }
        assert!(find("record").is_some() && find("nothing").is_none());
    }
}
