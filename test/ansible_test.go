package test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"weft/internal/lab/labtest"
)

// Ansible's collection openstack.cloud makes networks with weft, sees that they are there
// already when told again, finds them, and takes them away.
func TestAnsible(t *testing.T) {
	labtest.Require(t, "ansible-playbook")
	c := newCloud(t)
	public := c.publicNetwork()
	c.addMember()
	data, err := filepath.Abs("testdata/ansible")
	c.must(err)
	cmd := exec.Command("ansible-playbook", "-i", "localhost,", "-e", "public="+public, filepath.Join(data, "playbook.yaml"))
	cmd.Dir = c.dir
	cmd.Env = append(c.clientEnv("admin"), "PYTHONPATH="+data, "ANSIBLE_LOCAL_TEMP="+c.dir, "ANSIBLE_REMOTE_TEMP="+c.dir, "ANSIBLE_NOCOLOR=1", "ANSIBLE_PIPELINING=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ansible-playbook: %v\n%s", err, out)
	}
}
