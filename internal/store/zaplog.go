package store

import (
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// zapToSlog hands etcd's warnings and errors to slog at level debug: etcd logs errors on
// every orderly stop, so its levels mean little to an operator.
type zapToSlog struct{ log *slog.Logger }

func (z zapToSlog) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (z zapToSlog) With([]zapcore.Field) zapcore.Core { return z }

func (z zapToSlog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if z.Enabled(e.Level) {
		return c.AddCore(e, z)
	}
	return c
}

func (z zapToSlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	z.log.Debug("etcd: "+e.Message, "level", e.Level.String(), "fields", enc.Fields)
	return nil
}

func (z zapToSlog) Sync() error { return nil }
