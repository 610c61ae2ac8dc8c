//! What a user of a broker may do, which the binding has no call for.
#![allow(unsafe_code)]

use std::ffi::CString;

use rdkafka::{
    ClientConfig, bindings as c,
    producer::{BaseProducer, Producer as _},
    types::RDKafkaRespErr,
};

/// One thing that is allowed.
pub(crate) struct Acl<'a> {
    pub(crate) user: &'a str,
    /// Else every group.
    pub(crate) topic: Option<&'a str>,
    pub(crate) right: &'static str,
}

/// Allows it, as a user who may do all.
pub(crate) fn allow(brokers: &str, acl: Acl<'_>) {
    use c::{rd_kafka_AclOperation_t as Operation, rd_kafka_ResourceType_t as Resource};
    let client: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let client = client.client().native_ptr();
    let text = |text: &str| CString::new(text).unwrap();
    let (name, user) = (text(acl.topic.unwrap_or("*")), text(&format!("User:{}", acl.user)));
    let host = text("*");
    let resource = match acl.topic {
        Some(_) => Resource::RD_KAFKA_RESOURCE_TOPIC,
        None => Resource::RD_KAFKA_RESOURCE_GROUP,
    };
    let operation = match acl.right {
        "READ" => Operation::RD_KAFKA_ACL_OPERATION_READ,
        "DESCRIBE" => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        other => panic!("{other}"),
    };
    // SAFETY: all strings outlive the call that copies them; each object is destroyed once, after its
    // last use; the client lives to the end.
    unsafe {
        let mut binding = c::rd_kafka_AclBinding_new(
            resource,
            name.as_ptr(),
            c::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
            user.as_ptr(),
            host.as_ptr(),
            operation,
            c::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            std::ptr::null_mut(),
            0,
        );
        let queue = c::rd_kafka_queue_new(client);
        c::rd_kafka_CreateAcls(client, &raw mut binding, 1, std::ptr::null(), queue);
        let event = c::rd_kafka_queue_poll(queue, 20_000);
        assert!(!event.is_null(), "no answer");
        assert_eq!(c::rd_kafka_event_error(event), RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
        let mut count = 0;
        let results = c::rd_kafka_CreateAcls_result_acls(
            c::rd_kafka_event_CreateAcls_result(event),
            &raw mut count,
        );
        assert_eq!(count, 1);
        assert!(c::rd_kafka_acl_result_error(*results).is_null());
        c::rd_kafka_event_destroy(event);
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_AclBinding_destroy(binding);
    }
}
