package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/capture"
	"weft/internal/client"
	"weft/internal/inspect"
	"weft/internal/trace"
)

// captureTo says what weft capture does with the packets.
type captureTo struct {
	// file takes a pcap file, "-" is the standard output; empty prints lines.
	file     string
	json     bool
	out, say io.Writer
}

func captureCommand() *cobra.Command {
	var count, snap int
	var limit time.Duration
	var to captureTo
	var output string
	cmd := &cobra.Command{
		Use:   "capture VM|PORT|MAC|IP|TAP [FILTER...]",
		Short: "Print or save the packets of a port, whichever host it is on",
		Long: `Listens to the device of a port (the tap of a virtual machine, or the device in a DHCP namespace)
on the host where it is, and prints a line for each packet, or saves them with -w. Packets are
those that pass the device: what the port sends is seen before its filter drops it, and what it
gets after. It needs weft's own API and an administrator; the server and the host log who asks.

The filter is of tcpdump's kind and runs in the host's kernel: host, net, port, portrange, src, dst,
ether host, broadcast, multicast, arp, rarp, ip, ip6, icmp, icmp6, tcp, udp, sctp, with and, or, not
and parentheses. Names are not looked up.

  weft capture web
  weft capture web arp or udp port 67 or 68
  weft capture web -w web.pcap --for 30s 'tcp port 80 and not host 10.0.0.9'
  weft capture web -w - | wireshark -k -i -

When the device goes, as with a machine that is rebooted, it says so and goes on with the next that the
port has on that host. It ends at Ctrl-C, after -c packets or the time of --for, or after an hour, and
says then how many packets there were no room for: a host keeps 4 MB of what the client has not fetched.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usageError{fmt.Errorf("--output: %q is neither text nor json", output)}
			}
			given := cmd.Flags().Changed
			if output == "json" && to.file != "" {
				return usageError{errors.New("give one of -o json and -w")}
			}
			q := url.Values{"q": {args[0]}, "filter": {strings.Join(args[1:], " ")}}
			if given("count") {
				q.Set("count", strconv.Itoa(count))
			}
			if given("snap") {
				q.Set("snap", strconv.Itoa(snap))
			}
			if given("for") {
				q.Set("for", limit.String())
			}
			to.json, to.out, to.say = output == "json", cmd.OutOrStdout(), cmd.ErrOrStderr()
			return speak(cmd, func(ctx context.Context, _ Config, api *client.Client) error {
				return capturePackets(ctx, portAPI{api}, q, to)
			})
		},
		ValidArgsFunction: completeArgs("port"),
	}
	cmd.Flags().StringVarP(&to.file, "write", "w", "", "save the packets in this pcap `file`; - is the standard output")
	cmd.Flags().IntVarP(&count, "count", "c", 0, "end after this many packets")
	cmd.Flags().DurationVar(&limit, "for", 0, "end after this `time`, such as 30s")
	cmd.Flags().IntVarP(&snap, "snap", "s", 0, "keep only this many bytes of each packet (65536)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	addCloudFlags(cmd, "api")
	return cmd
}

// capturePackets asks for packets and prints or saves them, until there are no more or ctx ends.
func capturePackets(ctx context.Context, api portAPI, q url.Values, to captureTo) (err error) {
	lines, err := api.lines(ctx, inspect.CapturePath, q)
	if err != nil {
		return err
	}
	defer lines.close()
	sink := to.out
	if to.file != "" && to.file != "-" {
		f, err := os.OpenFile(to.file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		sink = f
	}
	packets, dropped, ended := uint64(0), uint64(0), false
	for lines.next() {
		var l trace.CaptureLine
		if err := json.Unmarshal(lines.line, &l); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if l.Packet != nil {
			packets++
		}
		dropped, ended = max(dropped, l.Dropped), ended || l.End != nil
		if err := to.take(sink, &l, lines.line); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(to.say, "%d packets, and %d for which there was no room\n", packets, dropped)
		return nil
	case !ended:
		return fmt.Errorf("the server has ended the answer after %d packets: %w", packets, lines.err)
	}
	return nil
}

// take deals with a line of the answer.
func (to captureTo) take(sink io.Writer, l *trace.CaptureLine, raw []byte) error {
	var err error
	switch {
	case to.json:
		_, err = fmt.Fprintf(sink, "%s\n", raw)
		return err
	case l.Begin != nil:
		where := ""
		if l.Begin.Namespace != "" {
			where = " in namespace " + l.Begin.Namespace
		}
		fmt.Fprintf(to.say, "port %s: device %s%s of host %s; \"from\" is what the port sends, \"to\" what it gets\n", l.Begin.PortID, l.Begin.Device, where, l.Begin.Host)
		if to.file != "" {
			_, err = sink.Write(capture.AppendHeader(nil, l.Begin.Snap))
		}
	case l.Note != "":
		fmt.Fprintln(to.say, l.Note)
	case l.Packet != nil:
		p := capture.Packet{At: l.Packet.At, Len: l.Packet.Len, Data: l.Packet.Data}
		if to.file != "" {
			_, err = sink.Write(capture.AppendPacket(nil, p))
			break
		}
		way := "to  "
		if l.Packet.FromPort {
			way = "from"
		}
		_, err = fmt.Fprintf(sink, "%s %s %s\n", p.At.Local().Format("15:04:05.000000"), way, capture.Line(p))
	case l.End != nil:
		fmt.Fprintf(to.say, "%d packets, and %d for which there was no room: %s\n", l.End.Packets, l.End.Dropped, l.End.Reason)
	}
	return err
}

// maxLine bounds a line of an answer: a packet of 64 KiB in base64, and more.
const maxLine = 1 << 20

// lines reads an answer that goes on, line by line; empty lines are left out.
type lines struct {
	body io.ReadCloser
	scan *bufio.Scanner
	line []byte
	err  error
}

// lines asks for what comes in lines.
func (c portAPI) lines(ctx context.Context, path string, query url.Values) (*lines, error) {
	body, err := c.Stream(ctx, path+"?"+query.Encode())
	if err != nil {
		return nil, plain(err)
	}
	l := &lines{body: body, scan: bufio.NewScanner(body)}
	l.scan.Buffer(nil, maxLine)
	return l, nil
}

func (l *lines) next() bool {
	for l.scan.Scan() {
		if l.line = l.scan.Bytes(); len(l.line) > 0 {
			return true
		}
	}
	if l.err = l.scan.Err(); l.err == nil {
		l.err = io.ErrUnexpectedEOF
	}
	return false
}

func (l *lines) close() { _ = l.body.Close() } // it was only read
