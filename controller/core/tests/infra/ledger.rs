//! The ledger's table, as `controller/aws/src/ledger` makes it.
//!
//! The names are read from that code's text: to link it would take the AWS SDK, which takes minutes to build.

const KEYS: &str = include_str!("../../../aws/src/ledger/keys.rs");
const TABLE: &str = include_str!("../../../aws/src/ledger/table.rs");

/// The value of a constant of `keys.rs`.
fn constant(name: &str) -> &'static str {
    let before = format!("pub const {name}: &str = \"");
    let mut found = KEYS.match_indices(&before);
    let (at, _) = found.next().unwrap_or_else(|| panic!("controller/aws/src/ledger/keys.rs has no `{before}`"));
    assert!(found.next().is_none(), "`{before}` is there twice");
    let value = &KEYS[at + before.len()..];
    value.split('"').next().unwrap_or_default()
}

/// The part of the template.
pub(crate) fn render() -> String {
    let [partition, sort, live, expires] = ["PARTITION", "SORT", "LIVE", "EXPIRES"].map(constant);
    format!(
        "      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - {{ AttributeName: {partition}, AttributeType: S }}
        - {{ AttributeName: {sort}, AttributeType: S }}
        - {{ AttributeName: {live}, AttributeType: N }}
      KeySchema:
        - {{ AttributeName: {partition}, KeyType: HASH }}
        - {{ AttributeName: {sort}, KeyType: RANGE }}
      LocalSecondaryIndexes:
        - IndexName: {live}
          KeySchema:
            - {{ AttributeName: {partition}, KeyType: HASH }}
            - {{ AttributeName: {live}, KeyType: RANGE }}
          Projection: {{ ProjectionType: ALL }}
      TimeToLiveSpecification: {{ AttributeName: {expires}, Enabled: true }}
"
    )
}

/// What the part says in its own words is what `make_table` does, statement by statement. Whoever changes that function
/// changes the part too.
#[test]
fn make_table_is_what_was_read() {
    let make_table = TABLE.split_once("pub async fn make_table").unwrap().1.split_once("\n}\n").unwrap().0;
    let code: String = make_table.split_whitespace().collect();
    for statement in [
        ".billing_mode(BillingMode::PayPerRequest)",
        ".attribute_definitions(attribute(PARTITION,ScalarAttributeType::S)?)",
        ".attribute_definitions(attribute(SORT,ScalarAttributeType::S)?)",
        ".attribute_definitions(attribute(LIVE,ScalarAttributeType::N)?)",
        ".key_schema(key(PARTITION,KeyType::Hash)?).key_schema(key(SORT,KeyType::Range)?)",
        ".index_name(LIVE).key_schema(key(PARTITION,KeyType::Hash)?).key_schema(key(LIVE,KeyType::Range)?)\
         .projection(Projection::builder().projection_type(ProjectionType::All).build())",
        "TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(true)",
    ] {
        assert!(code.contains(statement), "controller/aws/src/ledger/table.rs no longer says `{statement}`");
    }
    for (what, times) in [(".attribute_definitions(", 3), ("_secondary_indexes(", 1), (".key_schema(", 4)] {
        assert_eq!(code.matches(what).count(), times, "controller/aws/src/ledger/table.rs: `{what}`");
    }
}

/// The partitions that `infra/stack.yaml` names in the conditions of its roles are those of `keys.rs`.
#[test]
fn roles_name_partitions_that_there_are() {
    let text = std::fs::read_to_string(super::template()).unwrap();
    let kinds = ["machines", "launches", "holds", "claims", "orders", "leases", "once", "notes", "meta"];
    for kind in kinds {
        assert!(KEYS.contains(&format!(": &str = \"{kind}\";")), "keys.rs has no partition {kind}");
    }
    for kind in ["fact", "job"] {
        assert!(KEYS.contains(&format!("format!(\"{kind}#{{}}\"")), "keys.rs has no partitions {kind}#N");
    }
    let mut conditions = 0;
    for line in text.lines().filter(|line| line.contains("dynamodb:LeadingKeys")) {
        let (_, listed) = line.split_once("\"dynamodb:LeadingKeys\": [").unwrap();
        let (listed, _) = listed.split_once(']').unwrap();
        for name in listed.split(',').map(|name| name.trim().trim_matches('"')) {
            assert!(
                kinds.contains(&name) || ["fact#*", "job#*"].contains(&name),
                "infra/stack.yaml names a partition {name}: {line}"
            );
        }
        conditions += 1;
    }
    assert!(conditions >= 10, "only {conditions} statements are bound to partitions");
}
