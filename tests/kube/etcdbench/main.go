// etcdbench fills an etcd and reads it as Kubernetes does, with Kubernetes' own etcd client:
//
//	etcdbench load ENDPOINT PREFIX KEYS BYTES
//	etcdbench read ENDPOINT PREFIX LIMIT
//
// load puts KEYS pairs, spread over namespaces as Secrets are, with values of BYTES that begin as those of a KMS v2
// provider do. read is a bare paged range read, as k8s.io/apiserver pages a list (storage/etcd3/store.go): LIMIT keys
// a page, all at the first page's revision. It prints keys, bytes, pages and seconds.
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	batch   = 100 // puts of one transaction; etcd's own limit is 128
	writers = 8
	perNS   = 500
)

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil || value < 1 {
		log.Fatalf("expected a number, found %q", text)
	}
	return value
}

func key(prefix string, i int) string {
	return fmt.Sprintf("%ssecrets/ns-%05d/secret-%07d", prefix, i/perNS, i)
}

func load(client *clientv3.Client, prefix string, keys, size int) error {
	starts := make(chan int)
	failed := make(chan error, writers)
	var group sync.WaitGroup
	for range writers {
		group.Add(1)
		go func() {
			defer group.Done()
			for start := range starts {
				var puts []clientv3.Op
				for i := start; i < min(start+batch, keys); i++ {
					value := make([]byte, size)
					rand.New(rand.NewSource(int64(i))).Read(value)
					copy(value, "k8s:enc:kms:v2:kekd:")
					puts = append(puts, clientv3.OpPut(key(prefix, i), string(value)))
				}
				if _, err := client.Txn(context.Background()).Then(puts...).Commit(); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for start := 0; start < keys; start += batch {
		select {
		case starts <- start:
		case err := <-failed:
			return err
		}
	}
	close(starts)
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func read(client *clientv3.Client, prefix string, limit int) error {
	began := time.Now()
	end := clientv3.GetPrefixRangeEnd(prefix)
	next, revision := prefix, int64(0)
	keys, bytes, pages := 0, 0, 0
	for more := true; more; pages++ {
		answer, err := client.Get(context.Background(), next, clientv3.WithRange(end),
			clientv3.WithLimit(int64(limit)), clientv3.WithRev(revision))
		if err != nil {
			return err
		}
		for _, kv := range answer.Kvs {
			keys++
			bytes += len(kv.Key) + len(kv.Value)
		}
		more = answer.More
		if revision == 0 {
			revision = answer.Header.Revision
		}
		if len(answer.Kvs) > 0 {
			next = string(answer.Kvs[len(answer.Kvs)-1].Key) + "\x00"
		}
	}
	fmt.Printf("%d %d %d %.3f\n", keys, bytes, pages, time.Since(began).Seconds())
	return nil
}

func main() {
	if len(os.Args) < 5 {
		log.Fatal("usage: etcdbench load ENDPOINT PREFIX KEYS BYTES | read ENDPOINT PREFIX LIMIT")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[2]}, DialTimeout: 5 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if os.Args[1] == "load" && len(os.Args) == 6 {
		err = load(client, os.Args[3], number(os.Args[4]), number(os.Args[5]))
	} else {
		err = read(client, os.Args[3], number(os.Args[4]))
	}
	if err != nil {
		log.Fatal(err)
	}
}
