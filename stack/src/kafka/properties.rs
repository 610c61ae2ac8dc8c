//! `server.properties` of one broker.

use std::path::Path;

use crate::{Result, port::free_port};

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) id: u16,
    pub(super) client_port: u16,
    pub(super) controller_port: u16,
    /// The port that a proxy connects to, and the proxy's own.
    pub(super) proxied: Option<(u16, u16)>,
}

impl Node {
    pub(super) fn new(id: u16) -> Result<Self> {
        Ok(Self { id, client_port: free_port()?, controller_port: free_port()?, proxied: None })
    }
}

pub(super) const LOG4J: &str = "\
rootLogger.level = info
rootLogger.appenderRefs = stdout
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d %p %c{1}: %m%n
# Prints every setting of the broker, several times.
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
";

pub(super) fn render(
    node: &Node,
    nodes: &[Node],
    data: &Path,
    extra: &[(String, String)],
) -> String {
    let mut properties = identity(node, nodes, data);
    let replicas = nodes.len();
    let in_sync = replicas.div_ceil(2);
    properties.push_str(&format!(
        "\
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
auto.create.topics.enable=false
delete.topic.enable=true
group.initial.rebalance.delay.ms=0
"
    ));
    // Records are kept whatever their timestamps: tests and replays have them from any time.
    properties.push_str("log.retention.ms=-1\n");
    // After kill -9 a broker may not register again until its former session has run out.
    properties.push_str("broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=3000\n");
    for (key, value) in extra {
        properties.push_str(&format!("{key}={value}\n"));
    }
    properties
}

fn identity(node: &Node, nodes: &[Node], data: &Path) -> String {
    let Node { id, client_port, controller_port, proxied } = node;
    let voters: Vec<String> = nodes
        .iter()
        .map(|voter| format!("{}@127.0.0.1:{}", voter.id, voter.controller_port))
        .collect();
    let (listener, advertised) = proxied.map_or_else(Default::default, |(behind, proxy)| {
        (format!(",PROXIED://127.0.0.1:{behind}"), format!(",PROXIED://127.0.0.1:{proxy}"))
    });
    format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={}
listeners=CLIENT://127.0.0.1:{client_port},CONTROLLER://127.0.0.1:{controller_port}{listener}
advertised.listeners=CLIENT://127.0.0.1:{client_port}{advertised}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs={}
",
        voters.join(","),
        data.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_tolerate_the_loss_of_one_and_clients_of_the_proxy_are_sent_back_to_it() {
        let nodes = [1, 2, 3].map(|id| Node {
            id,
            client_port: 100 + id,
            controller_port: 200 + id,
            proxied: Some((300 + id, 400 + id)),
        });
        let properties = render(&nodes[1], &nodes, Path::new("/data"), &[]);
        for line in [
            "controller.quorum.voters=1@127.0.0.1:201,2@127.0.0.1:202,3@127.0.0.1:203",
            "listeners=CLIENT://127.0.0.1:102,CONTROLLER://127.0.0.1:202,PROXIED://127.0.0.1:302",
            "advertised.listeners=CLIENT://127.0.0.1:102,PROXIED://127.0.0.1:402",
            "default.replication.factor=3",
            "min.insync.replicas=2",
        ] {
            assert!(properties.lines().any(|have| have == line), "{line} in\n{properties}");
        }
        assert!(render(&nodes[0], &nodes[..1], Path::new("/d"), &[]).contains("replicas=1\n"));
    }
}
