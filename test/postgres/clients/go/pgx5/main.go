// What pgx 5 gets for its work, as text: the same straight from the server and through a tunnel.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

func show(label string, value ...any) { fmt.Println(append([]any{label + ":"}, value...)...) }

func must(err error) {
	if err != nil {
		show("unexpected", err)
		os.Exit(1)
	}
}

func failing(label string, err error) {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		show(label, e.Severity, e.Code, e.Message, e.Detail, e.Hint, e.Position, e.TableName, e.ConstraintName)
	} else {
		show(label, err)
	}
}

func main() {
	ctx := context.Background()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		config, err := pgx.ParseConfig(os.Getenv("CLIENT_URL"))
		must(err)
		config.DefaultQueryExecMode = mode
		conn, err := pgx.ConnectConfig(ctx, config)
		must(err)
		show("mode", mode)
		for i := 1; i <= 3; i++ {
			rows, err := conn.Query(ctx, "select id, name, city, tags from customers where id <= $1 order by id", i)
			must(err)
			all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
				var id int
				var name, city string
				var tags []string
				err := r.Scan(&id, &name, &city, &tags)
				return fmt.Sprint(id, name, city, tags), err
			})
			must(err)
			show("rows", all)
		}
		_, err = conn.Exec(ctx, "selec 1")
		failing("syntax", err)
		_, err = conn.Exec(ctx, "update payments set status = $1 where id = 1", "lost")
		failing("check", err)
		tx, err := conn.Begin(ctx)
		must(err)
		tag, err := tx.Exec(ctx, "update orders set note = $1 where id < $2", "x", 11)
		must(err)
		show("tag", tag)
		_, err = tx.Exec(ctx, "select 1/0")
		failing("division", err)
		_, err = tx.Exec(ctx, "select 1")
		failing("aborted", err)
		must(tx.Rollback(ctx))
		show("alive", conn.Ping(ctx))
		must(conn.Close(ctx))
	}

	conn, err := pgx.Connect(ctx, os.Getenv("CLIENT_URL"))
	must(err)
	batch := &pgx.Batch{}
	for i := 0; i < 30; i++ {
		batch.Queue("select $1::int * 3, (select name from customers where id = $1)", i)
	}
	results := conn.SendBatch(ctx, batch)
	for i := 0; i < 30; i++ {
		var n int
		var name *string
		must(results.QueryRow().Scan(&n, &name))
		show("batch", n, name == nil)
	}
	must(results.Close())
	bad := &pgx.Batch{}
	bad.Queue("select 1")
	bad.Queue("select 'x'::int")
	bad.Queue("select 2")
	failing("bad batch", conn.SendBatch(ctx, bad).Close())

	_, err = conn.Exec(ctx, "create temp table copied (id int, body text, at timestamptz)")
	must(err)
	count, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "body", "at"},
		pgx.CopyFromSlice(5000, func(i int) ([]any, error) { return []any{i, fmt.Sprint("row ", i), time.Unix(int64(i), 0)}, nil }))
	must(err)
	show("copied", count)
	var sum int
	must(conn.QueryRow(ctx, "select sum(id + length(body)) from copied").Scan(&sum))
	show("sum", sum)
	slow, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	_, err = conn.Exec(slow, "select pg_sleep(30)")
	cancel()
	show("timed out", errors.Is(err, context.DeadlineExceeded))

	pool, err := pgxpool.New(ctx, os.Getenv("CLIENT_URL"))
	must(err)
	done := make(chan int, 40)
	for i := 0; i < 40; i++ {
		go func() {
			var n int
			if err := pool.QueryRow(ctx, "select $1::int", i).Scan(&n); err != nil {
				show("pool", err)
			}
			done <- n
		}()
	}
	total := 0
	for i := 0; i < 40; i++ {
		total += <-done
	}
	show("pool", total)
	listener, err := pool.Acquire(ctx)
	must(err)
	_, err = listener.Exec(ctx, "listen news")
	must(err)
	_, err = pool.Exec(ctx, "select pg_notify('news', 'from go')")
	must(err)
	note, err := listener.Conn().WaitForNotification(ctx)
	must(err)
	show("notified", note.Channel, note.Payload)
	listener.Release()
	pool.Close()
}
