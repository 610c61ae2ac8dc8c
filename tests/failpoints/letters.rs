//! Dead letters, and a process that dies at a point: of those in a topic some are sent again, of those
//! in the table each is a row or a letter.

use std::process::Stdio;

use crate::support::{Message, Tidegate, World, eventually, kafka, produce, read_topic};

fn order(n: i64) -> Message {
    Message::json(&format!(r#"{{"order_id":{n},"amount":{n}}}"#))
}

#[test]
fn death_between_the_acknowledgement_of_a_letter_and_the_commit_doubles_that_letter_alone() {
    let world = World::new("die-letter", 1);
    let dead = "die-letter-dead";
    kafka().create_topic(dead, 1, &[]).unwrap();
    produce(&world, &[order(0), Message::json("bad"), order(2)]);
    let sets = ["routes[0].to[0].dead_letters.topic=die-letter-dead"];
    let exit = world.run_orders_to("letters.acknowledged=abort@1", &sets).wait();
    assert_eq!(exit.code, None, "it was to die:\n{}", exit.log);
    assert_eq!(read_topic(&world.brokers, dead, 1).len(), 1);
    assert_eq!(world.count_orders(), 0);

    let mut heir = world.run_orders(&sets);
    world.await_more_orders_than(1);
    heir.assert_conservation();
    heir.stop();
    assert_eq!(world.count_orders(), 2);
    let letters = read_topic(&world.brokers, dead, 1);
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0], letters[1]);
}

#[test]
fn a_replay_that_dies_at_any_point_leaves_each_letter_a_row_or_a_letter() {
    let count = 400;
    for (number, point) in [
        "transaction.begun",
        "copy.done",
        "dead_letters.written",
        "checkpoint.moved",
        "commit.answered",
    ]
    .iter()
    .enumerate()
    {
        let world = World::new(&format!("die-replay-{number}"), 1);
        // Refused by the encoder, and not any more once the column is called otherwise.
        world.sql.execute("ALTER TABLE orders RENAME order_id TO id").unwrap();
        produce(&world, &(0..count).map(order).collect::<Vec<_>>());
        let mut tidegate = world.run_orders(&[]);
        eventually("the letters", || match tidegate.assert_conservation().dead_lettered {
            dead if dead == count as u64 => Ok(()),
            dead => Err(dead.to_string()),
        });
        tidegate.stop();
        world.sql.execute("ALTER TABLE orders RENAME id TO order_id").unwrap();
        for passage in [1, 3] {
            let failpoint = format!("{point}=abort@{passage}");
            let replay = ["dlq", "replay"];
            let exit =
                Tidegate::spawn_at(world.folder.path(), &replay, Stdio::null(), &failpoint).wait();
            assert_eq!(exit.code, None, "it was to die at {failpoint}:\n{}", exit.log);
            assert_whole(&world, count);
        }
        let exit = Tidegate::spawn(world.folder.path(), &["dlq", "replay"], Stdio::null()).wait();
        assert_eq!(exit.code, Some(0), "{}", exit.log);
        assert_eq!(assert_whole(&world, count), 0);
    }
}

/// Every order is a row or a letter, once; gives the number of letters.
fn assert_whole(world: &World, count: i64) -> i64 {
    let rows = world.count_orders();
    let letters = world.number("SELECT count(*) FROM tidegate.dead_letters");
    assert_eq!(world.number("SELECT count(DISTINCT order_id) FROM orders"), rows);
    assert_eq!(rows + letters, count, "{rows} rows and {letters} letters");
    letters
}
