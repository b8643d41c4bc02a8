package control

import (
	"fmt"
	"testing"

	"weft/internal/model"
	"weft/internal/store"
	"weft/internal/store/storetest"
)

// TestFactsForget: facts of ports that are gone, by whoever's doing, do not pile up.
func TestFactsForget(t *testing.T) {
	c := New(Options{Store: storetest.New(t), Config: DefaultConfig()})
	n, err := c.CreateNetwork(t.Context(), NetworkRequest{})
	if err != nil {
		t.Fatal(err)
	}
	txn := c.store.Txn()
	for i := range 300 {
		txn.CreatePort(&model.Port{ID: model.PortID(fmt.Sprint("p", i)), NetworkID: n.Value.ID, MAC: model.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}})
	}
	if _, err := txn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	tell := func(from, to int) {
		var news []PortFact
		for i := from; i < to; i++ {
			news = append(news, PortFact{PortID: model.PortID(fmt.Sprint("p", i)), Wired: true})
		}
		if err := c.ReportPorts(t.Context(), "h", news); err != nil {
			t.Fatal(err)
		}
	}
	tell(0, 600)
	if n := len(c.facts.byPort); n != 300 {
		t.Errorf("%d facts of 300 ports", n)
	}
	txn = c.store.Txn()
	c.Read(func(r store.Reader) {
		for i := range 290 { // not by DeletePort, as when another server does it
			txn.DeletePort(r.Port(model.PortID(fmt.Sprint("p", i))), r.Revision())
		}
	})
	if _, err := txn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.facts.sweepAt = 0
	tell(299, 300)
	if n := len(c.facts.byPort); n != 10 {
		t.Errorf("%d facts of 10 ports", n)
	}
}
