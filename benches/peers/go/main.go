// What a competent user writes by hand in Go: franz-go, encoding/json, and pgx's binary COPY over four
// connections. Offsets are committed after the rows, so a crash may double a batch but loses none.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	batchRows   = 10_000
	connections = 4
)

type order struct {
	OrderID    int64     `json:"order_id"`
	CustomerID int64     `json:"customer_id"`
	Status     string    `json:"status"`
	Amount     float64   `json:"amount"`
	Currency   string    `json:"currency"`
	ItemCount  int32     `json:"item_count"`
	Express    bool      `json:"express"`
	CreatedAt  time.Time `json:"created_at"`
	Note       *string   `json:"note"`
}

var (
	table   = pgx.Identifier{"orders"}
	columns = []string{"order_id", "customer_id", "status", "amount", "currency", "item_count",
		"express", "created_at", "note"}
)

func main() {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	must(err)
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, config)
	must(err)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("KAFKA_BROKERS")),
		kgo.ConsumerGroup(os.Getenv("KAFKA_GROUP")),
		kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxBytes(50<<20),
		kgo.FetchMaxPartitionBytes(8<<20),
	)
	must(err)
	for {
		fetches := client.PollRecords(ctx, batchRows*connections)
		if errors := fetches.Errors(); len(errors) > 0 {
			log.Fatal(errors)
		}
		records := fetches.Records()
		written := make(chan error)
		batches := 0
		for first := 0; first < len(records); first += batchRows {
			batch := records[first:min(first+batchRows, len(records))]
			batches++
			go func() { written <- write(ctx, pool, batch) }()
		}
		for range batches {
			must(<-written)
		}
		must(client.CommitRecords(ctx, records...))
		client.AllowRebalance()
	}
}

func write(ctx context.Context, pool *pgxpool.Pool, records []*kgo.Record) error {
	rows := make([]order, len(records))
	for i, record := range records {
		if err := json.Unmarshal(record.Value, &rows[i]); err != nil {
			return err
		}
	}
	_, err := pool.CopyFrom(ctx, table, columns,
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			o := &rows[i]
			return []any{o.OrderID, o.CustomerID, o.Status, o.Amount, o.Currency, o.ItemCount,
				o.Express, o.CreatedAt, o.Note}, nil
		}))
	return err
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
