// A server that speaks MongoDB's protocol, for the tests: FerretDB with its SQLite backend, behind a turnstile.
//
// MongoDB executes each update of a document atomically. FerretDB 1.24 reads and writes in two steps, between which
// another client may come. So the turnstile lets one command pass after the other; everything else is FerretDB's.
package main

import (
	"context"
	"encoding/binary"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

var turn sync.Mutex

// Arguments: the address to listen on (host:port) and an existing directory for the data.
func main() {
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
	})
	if err != nil {
		log.Fatal(err)
	}
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go accept(strings.Trim(strings.TrimPrefix(server.MongoDBURI(), "mongodb:"), "/"), os.Args[1])
	if err := server.Run(stopping); err != nil {
		log.Fatal(err)
	}
}

func accept(server string, address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client, server)
	}
}

// Each command gets its answer before any other one reaches the server.
func serve(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		command, err := message(client)
		if err != nil {
			return
		}
		answer, err := ask(server, command)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

func ask(server net.Conn, command []byte) ([]byte, error) {
	turn.Lock()
	defer turn.Unlock()
	if _, err := server.Write(command); err != nil {
		return nil, err
	}
	return message(server)
}

// A message of MongoDB's wire protocol begins with its length, four bytes, little endian.
func message(from io.Reader) ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(from, length); err != nil {
		return nil, err
	}
	whole := make([]byte, binary.LittleEndian.Uint32(length))
	copy(whole, length)
	_, err := io.ReadFull(from, whole[4:])
	return whole, err
}
