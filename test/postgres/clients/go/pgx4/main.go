// What pgx 4 and lib/pq, as many programs still carry them, get for their work.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/lib/pq"
)

func must(err error) {
	if err != nil {
		fmt.Println("unexpected:", err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("CLIENT_URL"))
	must(err)
	for i := 1; i < 5; i++ {
		var email, city string
		must(conn.QueryRow(ctx, "select email, city from customers where id = $1", i).Scan(&email, &city))
		fmt.Println("pgx4:", email, city)
	}
	_, err = conn.Exec(ctx, "select 1/0")
	var refused *pgconn.PgError
	fmt.Println("pgx4 error:", errors.As(err, &refused), refused)
	_, err = conn.Exec(ctx, "create temp table copied (id int, body text)")
	must(err)
	count, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "body"}, pgx.CopyFromRows([][]any{{1, "a"}, {2, "b"}}))
	must(err)
	fmt.Println("pgx4 copied:", count)
	must(conn.Close(ctx))

	db, err := sql.Open("postgres", os.Getenv("CLIENT_URL"))
	must(err)
	rows, err := db.Query("select id, total, status, note from orders where id <= $1 order by id", 10)
	must(err)
	for rows.Next() {
		var id int
		var total, status string
		var note sql.NullString
		must(rows.Scan(&id, &total, &status, &note))
		fmt.Println("pq:", id, total, status, note)
	}
	must(rows.Err())
	_, err = db.Exec("insert into customers (id, name, email, city, created_at) values (1, '', '', '', now())")
	var e *pq.Error
	fmt.Println("pq error:", errors.As(err, &e), e.Code, e.Message, e.Detail, e.Constraint)
	tx, err := db.Begin()
	must(err)
	statement, err := tx.Prepare("update customers set city = $1 where id = $2")
	must(err)
	for i := 1; i < 4; i++ {
		result, err := statement.Exec("Accra", i)
		must(err)
		n, _ := result.RowsAffected()
		fmt.Println("pq updated:", n)
	}
	must(tx.Rollback())
	tx, err = db.Begin()
	must(err)
	_, err = tx.Exec("create temp table copied_pq (id int, body text)")
	must(err)
	copy, err := tx.Prepare(pq.CopyIn("copied_pq", "id", "body"))
	must(err)
	for i := 0; i < 100; i++ {
		_, err = copy.Exec(i, fmt.Sprint("row\t", i))
		must(err)
	}
	_, err = copy.Exec()
	must(err)
	must(copy.Close())
	var sum int
	must(tx.QueryRow("select sum(id) from copied_pq").Scan(&sum))
	fmt.Println("pq copied:", sum)
	must(tx.Commit())
	must(db.Close())
}
