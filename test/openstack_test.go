package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/internal/lab/labtest"
)

// The openstack command of Debian does with weft what it does with Neutron. What it is told
// and what it must answer is in testdata/openstack, a file for each kind of resource:
//
//	as member                        who gives the following commands: admin (at first) or member
//	$ network create demo            a command
//	name = demo                      then what its answer must say: a key (a/b within an object or
//	mtu ~ 14                         a list), and its value or a part of it
//	net := id                        and what later lines call $net
//	$ network list
//	rows = 2                         a list: how many rows, what is in a row by its number,
//	0/Name = demo
//	has Name = demo                  what is in any row, or in none
//	has not Name = other
//	$ network delete demo            a command without expectations must not fail
//	$ ! network show demo            a command that must fail, with the text that it says
//	No Network found for demo
func TestOpenstack(t *testing.T) {
	labtest.Require(t, "openstack")
	c := newCloud(t)
	s := &stage{cloud: c, vars: map[string]string{"public": c.publicNetwork(), "project": c.addMember()}}
	files, err := filepath.Glob("testdata/openstack/*.txt")
	c.must(err)
	if len(files) == 0 {
		t.Fatal("there is no story")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { s.play(t, file) })
	}
}

// addMember makes a project with a user and writes clouds.yaml entries for both users of the
// stories. It returns the project.
func (c *cloud) addMember() (project string) {
	c.t.Helper()
	var p struct{ Project struct{ ID string } }
	c.must(c.identity("POST", "/projects", m{"project": m{"name": "demo", "domain_id": "default"}}, &p))
	var u struct{ User struct{ ID string } }
	c.must(c.identity("POST", "/users", m{"user": m{"name": "demo", "password": "secret", "domain_id": "default"}}, &u))
	var roles struct{ Roles []struct{ ID string } }
	c.must(c.identity("GET", "/roles?name=member", nil, &roles))
	c.must(c.identity("PUT", "/projects/"+p.Project.ID+"/users/"+u.User.ID+"/roles/"+roles.Roles[0].ID, nil, nil))
	const nobody = "http://127.0.0.1:1"
	entry := func(a account) m {
		return m{"auth": m{"auth_url": a.AuthURL, "username": a.Username, "password": a.Password, "project_name": a.Project,
			"user_domain_id": "default", "project_domain_id": "default"}, "region_name": "RegionOne",
			// openstack quota set looks for these though it has nothing to say to them.
			"compute_endpoint_override": nobody, "volume_endpoint_override": nobody, "block_storage_endpoint_override": nobody}
	}
	b, err := yaml.Marshal(m{"clouds": m{"admin": entry(c.admin),
		"member": entry(account{AuthURL: c.admin.AuthURL, Username: "demo", Password: "secret", Project: "demo"})}})
	c.must(err)
	c.must(os.WriteFile(c.storyClouds(), b, 0o600))
	return p.Project.ID
}

// storyClouds is the clouds.yaml of the stories; weft's own is in its state directory.
func (c *cloud) storyClouds() string { return filepath.Join(c.dir, "clouds.yaml") }

// clientEnv is the environment of a client written in Python: nothing of the caller's cloud may leak in.
func (c *cloud) clientEnv(cloudName string) []string {
	return []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + c.dir, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1",
		"PYTHONDONTWRITEBYTECODE=1", "OS_CLIENT_CONFIG_FILE=" + c.storyClouds(), "OS_CLOUD=" + cloudName}
}

// stage is where stories are played: an openstack command for each user, and what has been noted.
type stage struct {
	*cloud
	prompts map[string]*prompt
	vars    map[string]string
}

// step is a command of a story with what its answer must say.
type step struct {
	line    int
	as      string
	command string
	fails   bool
	expect  []string
}

func readStory(file string) ([]step, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var steps []step
	as := "admin"
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "as "):
			as = strings.TrimPrefix(line, "as ")
		case strings.HasPrefix(line, "$ "):
			command, fails := strings.CutPrefix(strings.TrimPrefix(line, "$ "), "! ")
			steps = append(steps, step{line: i + 1, as: as, command: command, fails: fails})
		case len(steps) == 0:
			return nil, fmt.Errorf("%s:%d: an expectation before any command", file, i+1)
		default:
			last := &steps[len(steps)-1]
			last.expect = append(last.expect, line)
		}
	}
	return steps, nil
}

func (s *stage) play(t *testing.T, file string) {
	steps, err := readStory(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range steps {
		command := s.expand(st.command)
		if !st.fails && len(st.expect) > 0 {
			command += " -f json"
		}
		out, err := s.prompt(st.as).ask(command)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v", file, st.line, command, err)
		}
		if err := s.judge(st, out); err != nil {
			t.Errorf("%s:%d: %s: %v\n%s", file, st.line, command, err, out)
		}
	}
}

var variable = regexp.MustCompile(`\$[a-z_0-9]+`)

func (s *stage) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if value, ok := s.vars[v[1:]]; ok {
			return value
		}
		return v
	})
}

// judge compares the answer to a step with what is expected of it.
func (s *stage) judge(st step, out string) error {
	if st.fails {
		for _, e := range st.expect {
			if !strings.Contains(out, s.expand(e)) {
				return fmt.Errorf("it does not say %q", s.expand(e))
			}
		}
		if strings.TrimSpace(out) == "" {
			return fmt.Errorf("it does not fail")
		}
		return nil
	}
	if len(st.expect) == 0 {
		// What was made is shown in a table.
		if out != "" && !strings.HasPrefix(out, "+-") {
			return fmt.Errorf("it says something")
		}
		return nil
	}
	var answer any
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return err
	}
	for _, e := range st.expect {
		if err := s.expected(answer, e); err != nil {
			return err
		}
	}
	return nil
}

var expectation = regexp.MustCompile(`^(has not |has )?(.+?) (=|~|:=) ?(.*)$`)

// expected holds one line of a story against an answer.
func (s *stage) expected(answer any, line string) error {
	e := expectation.FindStringSubmatch(line)
	if e == nil {
		return fmt.Errorf("%q is no expectation", line)
	}
	which, key, op, want := e[1], e[2], e[3], s.expand(e[4])
	if op == ":=" {
		v, err := at(answer, want)
		s.vars[key] = v
		return err
	}
	holds := func(in any) error {
		got, err := at(in, key)
		switch {
		case err != nil:
			return err
		case op == "=" && got != want, op == "~" && !strings.Contains(got, want):
			return fmt.Errorf("%s is %s, want %s %s", key, got, op, want)
		}
		return nil
	}
	if which == "" {
		return holds(answer)
	}
	rows, _ := answer.([]any)
	found := false
	for _, row := range rows {
		found = found || holds(row) == nil
	}
	if found != (which == "has ") {
		return fmt.Errorf("not so: %s", s.expand(line))
	}
	return nil
}

// at returns what is at a/b/c in an answer, as text: strings as they are, the rest as JSON.
func at(answer any, path string) (string, error) {
	if rows, ok := answer.([]any); ok && path == "rows" {
		return strconv.Itoa(len(rows)), nil
	}
	for _, key := range strings.Split(path, "/") {
		switch in := answer.(type) {
		case map[string]any:
			v, ok := in[key]
			if !ok {
				return "", fmt.Errorf("there is no %s", path)
			}
			answer = v
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(in) {
				return "", fmt.Errorf("there is no %s in a list of %d", path, len(in))
			}
			answer = in[i]
		default:
			return "", fmt.Errorf("there is no %s", path)
		}
	}
	if text, ok := answer.(string); ok {
		return text, nil
	}
	b, err := json.Marshal(answer)
	return string(b), err
}

// prompt is an openstack command that reads commands from us: a process for each would take
// more than a second to start.
type prompt struct {
	in    io.Writer
	lines chan string
	asked int
}

func (s *stage) prompt(as string) *prompt {
	if sh := s.prompts[as]; sh != nil {
		return sh
	}
	cmd := exec.Command("openstack")
	cmd.Env = s.clientEnv(as)
	cmd.Dir = s.dir
	in, err := cmd.StdinPipe()
	s.must(err)
	out, w, err := os.Pipe()
	s.must(err)
	cmd.Stdout, cmd.Stderr = w, w
	s.must(cmd.Start())
	w.Close()
	s.t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
		out.Close()
	})
	sh := &prompt{in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(sh.lines)
		for r := bufio.NewScanner(out); r.Scan(); {
			sh.lines <- r.Text()
		}
	}()
	if s.prompts == nil {
		s.prompts = map[string]*prompt{}
	}
	s.prompts[as] = sh
	return sh
}

// ask gives a command and returns what is said until it has ended.
func (sh *prompt) ask(command string) (string, error) {
	sh.asked++
	end := fmt.Sprintf("ended-%d", sh.asked)
	if _, err := fmt.Fprintf(sh.in, "%s\n!echo %s\n", command, end); err != nil {
		return "", err
	}
	var said strings.Builder
	late := time.After(4 * time.Minute)
	for {
		select {
		case line, ok := <-sh.lines:
			switch {
			case !ok:
				return "", fmt.Errorf("openstack ended:\n%s", said.String())
			case line == end:
				return said.String(), nil
			}
			fmt.Fprintln(&said, line)
		case <-late:
			return "", fmt.Errorf("no end within four minutes:\n%s", said.String())
		}
	}
}
