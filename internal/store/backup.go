package store

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/internal/model"
)

// A backup is a gzipped text of JSON values, one a line: a Backup, then its items, then a
// backupEnd with the hash of all lines before. Its keys are without the prefix, so it can be
// restored into another etcd or prefix.

// backupForm is the version of that form.
const backupForm = 1

// Backup says what a backup is of.
type Backup struct {
	Form int `json:"weft_backup"`
	// Schema is the version of the stored values.
	Schema  int       `json:"schema"`
	MadeAt  time.Time `json:"made_at"`
	Program string    `json:"program"`
	// Revision is the one at which all keys are.
	Revision int64 `json:"revision"`

	// Files are what belongs to the stored cloud beside the store, by name.
	Files map[string][]byte `json:"-"`
	// Keys count the keys, by the first element.
	Keys  map[string]int `json:"-"`
	items []backupItem
}

// backupItem is a key or a file.
type backupItem struct {
	Key   string `json:"key,omitempty"`
	File  string `json:"file,omitempty"`
	Value []byte `json:"value"`
}

type backupEnd struct {
	SHA256 string `json:"sha256"`
	Items  int    `json:"items"`
}

// notBackedUp are the first elements of keys that say something of the servers of now, or
// must not come back: a token that was used would be good again.
var notBackedUp = map[string]bool{
	string(model.KindServer): true, string(model.KindServerPresence): true, string(model.KindJoinToken): true,
}

// backupPage is how many keys are asked for at a time.
const backupPage = 1000

// WriteBackup writes all keys below prefix, as they are at one revision, and b.Files. It
// fills in what b says of the store.
func WriteBackup(ctx context.Context, c *Client, prefix string, b *Backup, w io.Writer) error {
	first, err := c.Get(ctx, keys{prefix}.version())
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	if len(first.Kvs) == 0 {
		return fmt.Errorf("there is no store below %s", prefix)
	}
	schema, err := strconv.Atoi(string(first.Kvs[0].Value))
	if err != nil || schema > schemaVersion {
		return fmt.Errorf("the store has version %q; this program understands up to %d", first.Kvs[0].Value, schemaVersion)
	}
	b.Form, b.Schema, b.Revision, b.Keys = backupForm, schema, first.Header.Revision, map[string]int{}
	packed := gzip.NewWriter(w)
	out := &backupWriter{w: packed, sum: sha256.New()}
	out.put(b)
	for name, content := range b.Files {
		out.put(backupItem{File: name, Value: content})
	}
	for from, end := prefix, clientv3.GetPrefixRangeEnd(prefix); from != "" && out.err == nil; {
		resp, err := c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(backupPage), clientv3.WithRev(b.Revision))
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		from = ""
		for _, kv := range resp.Kvs {
			key := strings.TrimPrefix(string(kv.Key), prefix)
			dir, _, _ := strings.Cut(key, "/")
			if !notBackedUp[dir] && kv.Lease == 0 {
				b.Keys[dir]++
				out.put(backupItem{Key: key, Value: kv.Value})
			}
			if resp.More {
				from = string(kv.Key) + "\x00"
			}
		}
	}
	out.put(backupEnd{SHA256: hex.EncodeToString(out.sum.Sum(nil)), Items: out.n - 1})
	return errors.Join(out.err, packed.Close())
}

// backupWriter writes lines and sums them up.
type backupWriter struct {
	w   io.Writer
	sum hash.Hash
	n   int
	err error
}

func (w *backupWriter) put(v any) {
	line, err := json.Marshal(v)
	if err == nil && w.err == nil {
		line = append(line, '\n')
		w.sum.Write(line) // never fails
		_, err = w.w.Write(line)
		w.n++
	}
	w.err = errors.Join(w.err, err)
}

// errBackup says that a file is no good.
func errBackup(format string, args ...any) error {
	return fmt.Errorf("this is no whole backup of weft: "+format, args...)
}

// ReadBackup reads all of a backup and refuses one that is cut short or altered.
func ReadBackup(r io.Reader) (*Backup, error) {
	packed, err := gzip.NewReader(r)
	if err != nil {
		return nil, errBackup("%w", err)
	}
	lines := bufio.NewReaderSize(packed, 1<<16)
	b := &Backup{Files: map[string][]byte{}, Keys: map[string]int{}}
	sum := sha256.New()
	for n := 0; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, errBackup("line %d: %w", n+1, err)
		}
		var end backupEnd
		if n > 0 && json.Unmarshal(line, &end) == nil && end.SHA256 != "" {
			if end.SHA256 != hex.EncodeToString(sum.Sum(nil)) || end.Items != n-1 {
				return nil, errBackup("its content does not have the checksum that it names")
			}
			break
		}
		sum.Write(line)
		if err := b.read(n, line); err != nil {
			return nil, err
		}
	}
	if rest, err := io.Copy(io.Discard, lines); err != nil || rest > 0 {
		return nil, errBackup("%d bytes after the end (%v)", rest, err)
	}
	return b, nil
}

// read reads one line.
func (b *Backup) read(n int, line []byte) error {
	if n == 0 {
		if err := json.Unmarshal(line, b); err != nil {
			return errBackup("its first line: %w", err)
		}
		if b.Form != backupForm || b.Schema > schemaVersion || b.Schema < 1 {
			return fmt.Errorf("the backup is of form %d and of a store of version %d; this program understands form %d and versions up to %d: restore it by %s",
				b.Form, b.Schema, backupForm, schemaVersion, b.Program)
		}
		return nil
	}
	var item backupItem
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&item); err != nil {
		return errBackup("line %d: %w", n+1, err)
	}
	if (item.Key == "") == (item.File == "") {
		return errBackup("line %d is neither of a key nor of a file", n+1)
	}
	if item.File != "" {
		b.Files[item.File] = item.Value
		return nil
	}
	dir, _, _ := strings.Cut(item.Key, "/")
	b.Keys[dir]++
	b.items = append(b.items, item)
	return nil
}

// restoreBatch is how many keys are written at a time: no more than any etcd takes.
const restoreBatch = 100

// Restore writes the keys below a prefix that has none. When it fails it has written
// nothing, or, when etcd does not answer any more, what it says.
func (b *Backup) Restore(ctx context.Context, c *Client, prefix string) (err error) {
	resp, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("look whether there is a store already: %w", err)
	}
	if len(resp.Kvs) > 0 {
		return fmt.Errorf("there is a store already: etcd has keys below %s", prefix)
	}
	defer func() {
		if err == nil {
			return
		}
		if _, e := c.Delete(context.WithoutCancel(ctx), prefix, clientv3.WithPrefix()); e != nil {
			err = fmt.Errorf("%w; what is written below %s stays there, remove it before you try again: %w", err, prefix, e)
		}
	}()
	version := keys{prefix}.version()
	var ops []clientv3.Op
	flush := func() error {
		// The version comes last: a server that opens the store meanwhile makes it, and is found out.
		resp, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(version), "=", 0)).Then(ops...).Commit()
		ops = ops[:0]
		if err == nil && !resp.Succeeded {
			return errors.New("a server has made a new store there meanwhile")
		}
		return err
	}
	for _, item := range b.items {
		if prefix+item.Key == version {
			continue
		}
		ops = append(ops, clientv3.OpPut(prefix+item.Key, string(item.Value)))
		if len(ops) == restoreBatch {
			if err := flush(); err != nil {
				return fmt.Errorf("write the store: %w", err)
			}
		}
	}
	ops = append(ops, clientv3.OpPut(version, strconv.Itoa(b.Schema)))
	if err := flush(); err != nil {
		return fmt.Errorf("write the store: %w", err)
	}
	return nil
}
