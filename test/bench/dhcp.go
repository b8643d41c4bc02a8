package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"weft/internal/lab"
)

// benchDHCP drives the DHCP server with perfdhcp as a relay for 1,000 clients, in a
// namespace of its own, through Open vSwitch as guests are.
func benchDHCP(ctx context.Context, c *cloud, t *table) error {
	perfdhcp, err := lab.LookPath("perfdhcp")
	if err != nil {
		return err
	}
	network, err := c.network("dhcp", "10.120.0.0/16")
	if err != nil {
		return err
	}
	// perfdhcp counts its clients' MAC addresses up from a base.
	var bulk []m
	for i := range 1000 {
		bulk = append(bulk, m{"network_id": network, "mac_address": fmt.Sprintf("fa:16:3e:20:%02x:%02x", i>>8, i&255)})
	}
	if err := c.call("POST", "/v2.0/ports", m{"ports": bulk}, nil); err != nil {
		return err
	}
	relay, err := c.port(network, m{"name": "relay"})
	if err != nil {
		return err
	}
	if _, err := execute("ip", "netns", "add", "perf"); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.weft, "plug", "relay", "--netns", "perf", "--host", "bench", "--ovsdb", c.ovs.OVSDB, "--datapath-type", "netdev")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("plug: %w: %s", err, out)
	}
	if _, err := execute("ip", "-n", "perf", "addr", "add", relay.FixedIPs[0].IP+"/16", "dev", "eth0"); err != nil {
		return err
	}
	// Once around, so that both ends know each other's MAC address and the switch its flows.
	if _, err := execute("ip", "netns", "exec", "perf", "ping", "-c", "3", "-i", "0.2", "10.120.0.2"); err != nil {
		return err
	}
	if _, err := perf(ctx, perfdhcp, "perf", relay.FixedIPs[0].IP, 200); err != nil {
		return err
	}
	best := 0.0
	var note string
	for _, rate := range []int{2000, 4000, 6000, 7000, 7500, 8000, 9000} {
		r, err := perf(ctx, perfdhcp, "perf", relay.FixedIPs[0].IP, rate)
		if err != nil {
			return err
		}
		if r.drops > inFlight {
			note = fmt.Sprintf("at %d/s asked: %.0f/s, %d packets dropped", rate, r.rate, r.drops)
			break
		}
		best = r.rate
	}
	t.add("DORA/s without drops, 1,000 hosts (perfdhcp)", "280-340", ">= 7,000", fmt.Sprintf("%.0f", best), "through Open vSwitch; "+note)
	return nil
}

// inFlight is how many exchanges perfdhcp may leave open when its time is over; it counts
// them as dropped, at any rate.
const inFlight = 5

type perfResult struct {
	rate  float64
	drops int
}

var (
	perfRate  = regexp.MustCompile(`Rate: ([0-9.]+) 4-way`)
	perfDrops = regexp.MustCompile(`(?m)^drops: ([0-9]+)$`)
)

// perf runs perfdhcp for five seconds at a rate.
func perf(ctx context.Context, perfdhcp, ns, local string, rate int) (perfResult, error) {
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", ns, perfdhcp, "-4", "-r", strconv.Itoa(rate), "-R", "1000", "-p", "5",
		"-b", "mac=fa:16:3e:20:00:00", "-l", local, "10.120.0.2")
	// perfdhcp exits with 3 when packets were dropped.
	out, _ := cmd.CombinedOutput()
	text := string(out)
	r := perfRate.FindStringSubmatch(text)
	if r == nil {
		return perfResult{}, fmt.Errorf("perfdhcp says %s", text)
	}
	var res perfResult
	res.rate, _ = strconv.ParseFloat(r[1], 64)
	for _, d := range perfDrops.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(d[1])
		res.drops += n
	}
	return res, nil
}
