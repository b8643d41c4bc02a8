package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const cliIntro = `# The commands for the everyday

weft has short commands of its own for what is needed every day. They speak to the Neutron API as any
client does, to weft's or to another, and need no Python. What they lack, the ` + "`openstack`" + ` command has.

- An object is named by its ID or its name. If several have the name, the command lists them and does nothing.
- Lists and objects are printed as tables; ` + "`-o json`" + ` and ` + "`-o yaml`" + ` print all attributes as the API said them.
  ` + "`--long`" + ` shows more columns of a list.
- ` + "`create`, `set`" + ` and the like print the object as it then is. ` + "`delete`" + ` takes several, and deletes all it can.
- ` + "`none`" + ` empties what can be empty: ` + "`--gateway none`, `--secgroup none`" + `. A flag that is true or false is turned off by ` + "`=false`" + `.
- The exit code is 0, or 1 if the API or the network refused, or 2 for a mistake on the command line.
- ` + "`weft completion bash`" + ` (or zsh, fish) prints what lets the shell complete commands, flags, and names and IDs, for
  which it asks the API: ` + "`source <(weft completion bash)`" + `.

## Which API, and as whom

The first of these that there is:

1. the cloud named by ` + "`--os-cloud`" + ` or OS_CLOUD, from clouds.yaml;
2. ` + "`--api URL`" + ` (or the setting ` + "`api`" + `), without authentication;
3. the OS_* variables: OS_AUTH_URL with OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, OS_USER_DOMAIN_NAME and so on; or OS_TOKEN; or
   OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET; or OS_AUTH_TYPE=none and OS_ENDPOINT. Also OS_REGION_NAME,
   OS_INTERFACE, OS_CACERT;
4. the cloud ` + "`weft`" + ` of clouds.yaml. A server that has identities of its own writes one into its state directory, which only root can
   read: root needs no settings there;
5. http://127.0.0.1:9696, without authentication.

clouds.yaml is looked for as OpenStack's clients do: the file OS_CLIENT_CONFIG_FILE, then in ., ~/.config/openstack and
/etc/openstack; then in weft's state directory. A secure.yaml beside it is merged into it. It may say auth_type password, token, v3applicationcredential
or none; region_name, interface, verify, cacert, network_endpoint_override. OS_PASSWORD, OS_REGION_NAME, OS_INTERFACE and OS_CACERT fill in
what the cloud does not say; no variable overrides it.

All commands have ` + "`--os-cloud`, `--api`, `--state-dir` and `--config`" + `. This page is made from the program (` + "`make golden`" + `).
`

const cliAllows = `Says whether port security and security groups let a packet pass at a port, and by which rule; of a network administrator's
questions the commonest. It needs weft's own API and an administrator.

- ` + "`--from`" + ` asks whether the port would receive the packet, ` + "`--to`" + ` whether it may send it. What the other side's filter
  says is a question about the port there.
- The answer comes from the records. ` + "`--live`" + ` asks the switch of the port's host too (` + "`ofproto/trace`" + `: nothing is sent, and
  what conntrack would say is given by ` + "`--established` and `--reply`" + `), names the flow that decides, and says plainly if the
  two disagree and what may be behind it.
- A request for an address, which guests send to all, comes to DHCP services and to ports without port security alone, and with
  ` + "`dhcp_mode: distributed`" + ` to those of the guest's own host: else the answer is no (` + "`not_delivered`" + `), whatever the rules.
- The exit code is 0 for yes, 1 for no, 2 if the question could not be answered, 3 if record and switch disagree.
  If the port's host cannot be asked, that is said, and the answer of the records counts.`

const cliFollow = `Follows a boot, or whatever else happens to a port, in one timeline: what the VIF log, tcpdump and the log of the DHCP agent say on several hosts.

    $ weft trace vm --follow
    01:36:26.592208  API          record     is DOWN, admin state up, fa:16:3e:02:bd:4e, 10.20.0.38, bound to no host
    01:36:26.698157  API          record     bound to host compute-1 (ovs)
    01:36:26.698275  compute-1    host       the record is here, revision 2
    01:36:26.724366  compute-1    interface  tapb13d34ce-8f has appeared, ofport 2
    01:36:26.730327  compute-1    flows      acknowledged by the switch, local VLAN 1, 6.0 ms after the interface
    01:36:26.730364  compute-1    report     told the server: wired true, DHCP true
    01:36:26.730817  API          record     status DOWN becomes ACTIVE
    01:36:26.761140  network-1    dhcp       DISCOVER
    01:36:26.761293  network-1    dhcp       OFFER 10.20.0.38, after 153 us
    01:36:26.762129  network-1    dhcp       REQUEST
    01:36:26.762147  network-1    dhcp       ACK 10.20.0.38, after 17 us

- It may begin before the machine is plugged, and before the port is bound: the host and the DHCP hosts are asked as soon as they are known. It shows
  first what they remember: 32 events of a port, and its last 8 DHCP messages. It ends at Ctrl-C, with exit code 0, or when the port is deleted.
- Of a virtual machine's ID it shows all ports, up to 32, also those that are made or attached while it runs, and ends with the last. Each line then has the
  port's tap after the time, or ` + "`-`" + ` for what is of the whole host.
- Lines are in the order of time. A host's clock that is more than 0.1 s wrong is put right by the server's, and a line says so; so do lines about hosts that
  do not answer, agents that begin anew, and events that were lost.
- ` + "`-o json`" + ` prints a JSON object by line: at, port_id (of a virtual machine's), host (none is the API), kind, text; that is also what
  ` + "`GET /weft/v1/trace/follow?q=VM|PORT`" + ` answers.
- Members see of their ports what is of the record and DHCP, without hosts.`

const cliCapture = `Prints or saves the packets of a port, from whichever host it is on; if a virtual machine has several, it lists them to choose from. It needs weft's own API and an administrator.

    weft capture web arp or udp port 67 or 68
    weft capture web -w web.pcap --for 30s 'tcp port 80 and not host 10.0.0.9'
    weft capture web -w - | wireshark -k -i -

- ` + "`from`" + ` before a packet says that the port sends it, ` + "`to`" + ` that it gets it. It is seen at the device: what the port sends before its
  filter, what it gets behind it.
- The filter runs in the kernel of the port's host, and nothing else is copied. It knows host, net, port, portrange, src, dst, ether host, broadcast,
  multicast, arp, rarp, ip, ip6, icmp, icmp6, tcp, udp, sctp, and, or, not and parentheses, as tcpdump does, but looks up no names.
- A host keeps 4 MB of packets that wait to be fetched and sends 5 MB a second; what found no room is counted, and said at the end. Four captures may
  run on a host, sixteen through a server; each ends after an hour.
- Server and host log who asks for what, and when it ends. When the client leaves, the host stops at once; when the server is lost, within half a minute.
- When the device goes, as with a machine that is rebooted, a line on the standard error says so, and another when the capture goes on with the port's next
  device on that host. It ends when the port is deleted or bound to another host.
- Without weft's client: ` + "`GET /weft/v1/capture?q=PORT&filter=...&count=...&for=...&snap=...`" + ` answers JSON by line, each with begin, packet,
  dropped, note or end; ` + "`&format=pcap`" + ` a pcap file.`

const cliDoctor = `Looks at all servers and hosts at once, from anywhere, and says what is not as it should be and what to do about it. It needs weft's
own API and an administrator.

- Servers: etcd (leader, members, alarms, size and quota, how long a change takes), the disk below it (how long a write takes, room), certificates,
  clock, and whether anything in the store contradicts itself.
- Hosts: clock, certificate, Open vSwitch (versions, database, datapath, lost packets, interfaces that cannot work), bridges as planned, foreign controllers
  and managers, agents of another network service, the underlay (device, MTU, routes, rp_filter), kernel modules, neighbour table, conntrack, what the agent could not
  do, and what is left over.
- Tunnels between hosts that share a network (from each host to four others at most), by small and big probes both ways.
- A machine that does not answer is a finding. Clocks are compared by when the answer came; the error is half of the time that it took.
- ` + "`--all`" + ` shows also what is well, and which troubles that operators of Neutron know cannot happen here, and why.
- The exit code is 0 if all is well (perhaps with warnings), 1 if something is broken, 2 if that cannot be told.
- ` + "`-o json`" + ` prints ` + "`GET /weft/v1/doctor`" + `: ` + "`{at, verdict, groups: [{kind, name, verdict, checks: [{name, verdict, text, do}]}]}`" + `; fields are only ever added.`

const cliGC = `Lists what is left over on hosts: DHCP and router namespaces (qdhcp-, qrouter-), ports of the integration bridge with an iface-id, and taps named
for a port, of networks, routers and ports that are not in the store any more, whether weft or Neutron made them. Without ` + "`--yes`" + `
nothing is changed. With it exactly what is listed is removed, each thing only if, looked at again, nothing in the store has it, the host's agent is in step and
does not want it and has known it for a minute, and no process holds the tap or runs in the namespace.`

const cliJoin = `How a further host comes into the cloud: an administrator makes a token, and the new host joins with it.

    controller# weft server token
    weft1.aAbC...
    compute-1# weft agent join weft1.aAbC...
    compute-1# weft agent

What tokens and certificates are worth to a thief is in architecture.md.`

const cliServers = `How to run several servers, and what to do when one is lost, is in servers.md. These commands run on a server, by a user who may
read its state directory, and take all settings of the server: where its settings are in the file, none need be given.`

// TestCLIDocument keeps docs/cli.md equal to the commands; -update rewrites it.
func TestCLIDocument(t *testing.T) {
	const name = "../../docs/cli.md"
	want := cliDocument()
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not list the commands as they are: run go test ./cmd/weft -update", name)
	}
}

func cliDocument() []byte {
	var b bytes.Buffer
	b.WriteString(cliIntro)
	agents := group("agent", "Agents")
	agentNoun().addVerbs(agents)
	for _, c := range append(nounCommands(), agents) {
		top := &cobra.Command{Use: "weft"}
		top.AddCommand(c)
		fmt.Fprintf(&b, "\n## weft %s\n\n", c.Name())
		describe(&b, c)
	}
	top := &cobra.Command{Use: "weft"}
	top.AddCommand(allowsCommand())
	fmt.Fprintf(&b, "\n## weft allows\n\n%s\n\n", cliAllows)
	describe(&b, top)
	fmt.Fprintf(&b, "\n## weft trace --follow\n\n%s\n", cliFollow)
	top = &cobra.Command{Use: "weft"}
	top.AddCommand(captureCommand())
	fmt.Fprintf(&b, "\n## weft capture\n\n%s\n\n", cliCapture)
	describe(&b, top)
	for _, d := range []struct {
		*cobra.Command
		text string
	}{{doctorCommand(), cliDoctor}, {gcCommand(), cliGC}} {
		top := &cobra.Command{Use: "weft"}
		top.AddCommand(d.Command)
		fmt.Fprintf(&b, "\n## weft %s\n\n%s\n\n", d.Name(), d.text)
		describe(&b, top)
	}
	joining := &cobra.Command{Use: "weft"}
	server := &cobra.Command{Use: "server"}
	server.AddCommand(tokenCommand())
	agent := &cobra.Command{Use: "agent"}
	agent.AddCommand(joinCommand())
	joining.AddCommand(server, agent)
	fmt.Fprintf(&b, "\n## weft server token, weft agent join\n\n%s\n\n", cliJoin)
	describe(&b, joining)
	fmt.Fprintf(&b, "\n## Several servers, backups\n\n%s\n\n", cliServers)
	servers, more := &cobra.Command{Use: "weft"}, &cobra.Command{Use: "server"}
	more.AddCommand(serverJoinCommand(), serverListCommand(), serverRemoveCommand())
	rest := []*cobra.Command{backupCommand(), restoreCommand()}
	servers.AddCommand(append(rest, more)...)
	for _, c := range append(more.Commands(), rest...) {
		fmt.Fprintf(&b, "- `%s`: %s\n", strings.TrimSuffix(c.UseLine(), " [flags]"), lowerFirst(c.Short))
	}
	return b.Bytes()
}

// describe writes the commands below c, each with its own flags.
func describe(b *bytes.Buffer, c *cobra.Command) {
	for _, verb := range c.Commands() {
		if verb.HasSubCommands() {
			describe(b, verb)
			continue
		}
		fmt.Fprintf(b, "- `%s`: %s\n", strings.TrimSuffix(verb.UseLine(), " [flags]"), lowerFirst(verb.Short))
		verb.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains([]string{"os-cloud", "api", "state-dir", "config", "output", "long", "help"}, f.Name) {
				fmt.Fprintf(b, "  - `--%s`: %s\n", f.Name, f.Usage)
			}
		})
	}
}
