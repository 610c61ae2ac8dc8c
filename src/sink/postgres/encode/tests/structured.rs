use super::*;

fn array(element: ColumnType, oid: u32, dimensions: usize) -> ColumnType {
    ColumnType::Array(Arc::new(ArrayType { element, oid, dimensions }))
}

fn texts() -> ColumnType {
    array(ColumnType::Text { max_chars: None }, 25, 1)
}

fn words(bytes: &[u8]) -> Vec<i32> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    words.iter().map(|word| i32::from_be_bytes(*word)).collect()
}

#[test]
fn an_array_is_its_dimensions_and_then_its_elements() {
    let int4 = array(ColumnType::Int4, 23, 1);
    for (json, expected) in [
        ("[1,null]", vec![1, 1, 23, 2, 1, 4, 1, -1]),
        ("[[1,2],[3,4]]", vec![2, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4]),
        ("[[[7]]]", vec![3, 0, 23, 1, 1, 1, 1, 1, 1, 4, 7]),
        ("[]", vec![0, 0, 23]),
        ("[[],[]]", vec![0, 0, 23]),
        ("[null]", vec![1, 1, 23, 1, 1, -1]),
        ("[ \"1\" , 2e0 ]", vec![1, 0, 23, 2, 1, 4, 1, 4, 2]),
        (r#""{1,NULL}""#, vec![1, 1, 23, 2, 1, 4, 1, -1]),
        (r#"" { { 1 , 2 } , {3,4}} ""#, vec![2, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4]),
        (r#""{}""#, vec![0, 0, 23]),
        (r#""[1,null]""#, vec![1, 1, 23, 2, 1, 4, 1, -1]),
    ] {
        assert_eq!(words(&encode(&int4, json).unwrap()), expected, "{json}");
    }
}

#[test]
fn an_array_that_is_no_rectangle_is_refused() {
    let int4 = array(ColumnType::Int4, 23, 1);
    for json in [
        "[[1,2],[3]]",
        "[[1],2]",
        "[1,[2]]",
        "[[1],null]",
        "[[],[1]]",
        "[[1],[[2]]]",
        "\"{{1},{2,3}}\"",
    ] {
        refused(&int4, json, Reason::WrongType, "an array is a rectangle");
    }
    refused(&int4, "[[[[[[[1]]]]]]]", Reason::OutOfRange, "more than 6 dimensions");
    for json in ["{\"a\":1}", "1", "true"] {
        refused(&int4, json, Reason::WrongType, "expected an array, or a string like \"{1,2}\"");
    }
    for json in [
        "\"\"",
        "\"1,2\"",
        "\"{1\"",
        "\"{1,}\"",
        "\"{,1}\"",
        "\"{1}}\"",
        "\"{1}{2}\"",
        "\"{1\\\"2\\\"}\"",
    ] {
        refused(&int4, json, Reason::InvalidText, "does not read as an array");
    }
    refused(&int4, "[1,\"x\"]", Reason::InvalidText, "element 2: `x`");
}

#[test]
fn elements_in_braces_are_unquoted() {
    let text = |json: &str| {
        let bytes = encode(texts(), json).unwrap();
        let mut rest = &bytes[20..];
        let mut elements = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let (element, after) = after.split_at(length.max(0) as usize);
            elements.push((length >= 0).then(|| String::from_utf8(element.to_vec()).unwrap()));
            rest = after;
        }
        elements
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        text(r#""{a b , null,\"NULL\",\"\"}""#),
        [some("a b"), None, some("NULL"), some("")]
    );
    assert_eq!(text(r#""{\"a\\\"b\",c\\,d}""#), [some("a\"b"), some("c,d")]);
    assert_eq!(text(r#""{a\\ , \\ ,b\\\\ }""#), [some("a "), some(" "), some("b\\")]);
    assert_eq!(
        text(r#"["{a}","é",{"b":1},true]"#),
        [some("{a}"), some("é"), some("{\"b\":1}"), some("true")]
    );
}

#[test]
fn elements_that_are_json_arrays_themselves_stand_as_deep_as_is_declared() {
    let flat = encode(array(ColumnType::Jsonb, 3802, 1), "[[1,2],[3]]").unwrap();
    assert_eq!(words(&flat[..20]), [1, 0, 3802, 2, 1]);
    assert!(flat.ends_with(b"\0\0\0\x06\x01[1,2]\0\0\0\x04\x01[3]"));
    let deep = encode(array(ColumnType::Jsonb, 3802, 2), "[[1,[2]]]").unwrap();
    assert_eq!(words(&deep[..28]), [2, 0, 3802, 1, 1, 2, 1]);
    assert!(deep.ends_with(b"\0\0\0\x02\x011\0\0\0\x04\x01[2]"));
}

fn pair() -> ColumnType {
    let attribute =
        |name: &str, column_type, oid| Attribute { name: name.to_owned(), column_type, oid };
    ColumnType::Composite(Arc::new(CompositeType {
        name: "pair".to_owned(),
        attributes: vec![
            attribute("n", ColumnType::Int4, 23),
            attribute("label", ColumnType::Text { max_chars: None }, 25),
            attribute("list", array(ColumnType::Int4, 23, 1), 1007),
        ],
    }))
}

#[test]
fn a_composite_is_read_by_attribute_by_position_and_as_postgres_writes_it() {
    let whole =
        b"\0\0\0\x03\0\0\0\x17\0\0\0\x04\0\0\0\x05\0\0\0\x19\0\0\0\x03a,b\0\0\x03\xef\0\0\0\x1c\
        \0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x01\0\0\0\x01\0\0\0\x04\0\0\0\x07"
            .to_vec();
    for json in [
        r#"{"n":5,"label":"a,b","list":[7]}"#,
        r#"{ "list" : [7] , "n" : 1, "l\u0061bel" : "a,b", "n" : 5 }"#,
        r#"[5,"a,b",[7]]"#,
        r#""(5,\"a,b\",{7})""#,
        r#""{\"n\":5,\"label\":\"a,b\",\"list\":[7]}""#,
    ] {
        assert_eq!(encode(pair(), json).as_ref(), Ok(&whole), "{json}");
    }
    let empty = b"\0\0\0\x03\0\0\0\x17\xff\xff\xff\xff\0\0\0\x19\xff\xff\xff\xff\0\0\x03\xef\xff\xff\xff\xff";
    for json in ["{}", "[null,null,null]", "\"(,,)\"", "{\"label\":null}"] {
        assert_eq!(encode(pair(), json), Ok(empty.to_vec()), "{json}");
    }
}

#[test]
fn a_composite_with_other_attributes_is_refused() {
    refused(pair(), r#"{"labl":1}"#, Reason::WrongType, "did you mean `label`?");
    refused(pair(), r#"{"n":"x"}"#, Reason::InvalidText, "n: `x`: does not read as an integer");
    for json in ["[1]", "[]", "[1,2,[3],4]", "\"(1,2)\"", "\"(1,2,,3)\""] {
        refused(pair(), json, Reason::WrongType, "pair has 3 attributes, found ");
    }
    for json in ["\"1,2,3\"", "\"(1,a,\"", "\"(1,a,{})x\"", "\"\""] {
        refused(pair(), json, Reason::InvalidText, "does not read as pair");
    }
    refused(pair(), "1", Reason::WrongType, "expected an object by attribute");
    let list = array(pair(), 70_000, 1);
    refused(
        &list,
        r#"[{"n":1},{"list":[1,"y"]}]"#,
        Reason::InvalidText,
        "element 2: list: element 2: `y`",
    );
}

#[test]
fn a_range_is_its_bounds_and_how_they_count() {
    let range = ColumnType::Range(Arc::new(ColumnType::Int4));
    let (one, five) = (&b"\0\0\0\x04\0\0\0\x01"[..], &b"\0\0\0\x04\0\0\0\x05"[..]);
    for (json, flags, bounds) in [
        (r#""[1,5)""#, 0x02, vec![one, five]),
        (r#""(1, 5]""#, 0x04, vec![one, five]),
        (r#""[1,5]""#, 0x06, vec![one, five]),
        (r#""[\"1\",)""#, 0x12, vec![one]),
        (r#""(,5]""#, 0x0c, vec![five]),
        (r#""[,]""#, 0x18, vec![]),
        (r#"" empty ""#, 0x01, vec![]),
        ("[1,5]", 0x02, vec![one, five]),
        ("[null,5]", 0x08, vec![five]),
        (r#"{"lower":1,"upper":5}"#, 0x02, vec![one, five]),
        (r#"{"lower":"1","bounds":"()"}"#, 0x10, vec![one]),
        (r#"{"empty":true}"#, 0x01, vec![]),
    ] {
        let expected = [&[flags][..], &bounds.concat()].concat();
        assert_eq!(encode(&range, json), Ok(expected), "{json}");
    }
    for json in ["[1]", "[1,2,3]", "7", r#"{"from":1}"#, r#"{"empty":1}"#] {
        refused(&range, json, Reason::WrongType, "");
    }
    for json in ["\"\"", "\"1,5\"", "\"[1,5\"", "\"[1,2,3]\"", "\"[1,5)x\"", r#"{"bounds":"["}"#] {
        refused(&range, json, Reason::InvalidText, "expected ");
    }
    refused(&range, "[5,1]", Reason::OutOfRange, "above the upper bound");
    refused(&range, "[-1,-2]", Reason::OutOfRange, "above the upper bound");
    refused(&range, "[1,\"x\"]", Reason::InvalidText, "upper bound: `x`");
}

#[test]
fn a_multirange_is_a_list_of_ranges() {
    let multirange = ColumnType::Multirange(Arc::new(ColumnType::Int4));
    let both =
        b"\0\0\0\x02\0\0\0\x11\x02\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x05\0\0\0\x01\x01".to_vec();
    for json in [r#"[[1,5],"empty"]"#, r#""{[1,5),empty}""#, r#""{ [1,5) , EMPTY }""#] {
        assert_eq!(encode(&multirange, json), Ok(both.clone()), "{json}");
    }
    assert_eq!(encode(&multirange, "[]"), Ok(vec![0; 4]));
    assert_eq!(encode(&multirange, "\"{}\""), Ok(vec![0; 4]));
    refused(&multirange, "[null]", Reason::WrongType, "holds no null");
    refused(&multirange, "[[1,5],[\"x\",1]]", Reason::InvalidText, "range 2: lower bound: `x`");
    for json in ["\"[1,5)\"", "\"{[1,5),}\"", "\"{[1,5)\""] {
        refused(&multirange, json, Reason::InvalidText, "");
    }
}

#[test]
fn a_point_is_two_floats() {
    let expected = [1.5_f64.to_be_bytes(), (-2.0_f64).to_be_bytes()].concat();
    for json in [
        "[1.5,-2]",
        r#"{"x":1.5,"y":"-2","srid":null}"#,
        r#""(1.5,-2)""#,
        r#"" ( 1.5 , -2 ) ""#,
        r#""1.5,-2""#,
    ] {
        assert_eq!(encode(ColumnType::Point, json), Ok(expected.clone()), "{json}");
    }
    for json in ["[1]", "[1,2,3]", "[1,null]", r#"{"x":1}"#, r#"{"x":1,"z":2}"#, "1", "[1,true]"] {
        refused(ColumnType::Point, json, Reason::WrongType, "");
    }
    for json in ["\"(1)\"", "\"(1,x)\"", "\"(1,2\"", "[1,\"x\"]"] {
        refused(ColumnType::Point, json, Reason::InvalidText, "");
    }
}

#[test]
fn strings_of_another_format_are_read_as_those_of_json() {
    let list = array(ColumnType::Int4, 23, 1);
    let expected = encode(&list, "[1,2]").unwrap();
    assert_eq!(encode_bytes(&list, b"{1,2}"), Ok(expected.clone()));
    assert_eq!(encode_bytes(&list, b" [1, 2]"), Ok(expected));
    assert_eq!(encode_bytes(pair(), b"{\"n\":1}"), encode(pair(), "{\"n\":1}"));
    let rejection = encode_bytes(&list, b"{\xff}").unwrap_err();
    assert_eq!(rejection.reason, Reason::InvalidText);
}
