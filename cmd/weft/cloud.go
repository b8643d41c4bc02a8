package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"weft/internal/client"
)

// ownCloud is the name that a server's own clouds.yaml, in its state directory, gives to
// its cloud.
const ownCloud = "weft"

// addCloudFlags gives a command the settings of those that speak to the API.
func addCloudFlags(cmd *cobra.Command, use string) {
	addFlags(cmd, use)
	cmd.Flags().String("os-cloud", "", "cloud of clouds.yaml to speak to (default $OS_CLOUD, then the OS_* variables, then the cloud weft, then --api)")
}

// chooseCloud says which API a command speaks to, and as whom. What is named counts before
// what is merely there, and without any the API on this host may need no authentication.
func chooseCloud(c Config, name string, getenv func(string) string) (client.Cloud, error) {
	files := client.DefaultFiles(getenv, c.StateDir)
	open := client.Cloud{Source: "the setting api", AuthType: "none", Endpoint: c.API}
	name = cmpOr(name, getenv("OS_CLOUD"))
	ownAPI := c.API != defaults().API
	if !ownAPI {
		open.Source = "the default of the setting api; --api or a clouds.yaml names another"
	}
	switch {
	case name != "":
		cloud, err := client.FindCloud(files, name, getenv)
		if ownAPI {
			cloud.Endpoint = c.API
		}
		return cloud, err
	case ownAPI:
		return open, nil // no token of another cloud goes there
	case client.InEnvironment(getenv):
		return client.FromEnvironment(getenv)
	}
	cloud, err := client.FindCloud(files, ownCloud, getenv)
	if none := (client.NoSuchCloud{}); errors.As(err, &none) {
		return open, nil
	}
	return cloud, err
}

// connect makes the client of a command from its settings.
func connect(cmd *cobra.Command, c Config) (*client.Client, error) {
	name, err := cmd.Flags().GetString("os-cloud")
	if err != nil {
		return nil, err
	}
	cloud, err := chooseCloud(c, name, os.Getenv)
	if err != nil {
		return nil, err
	}
	return client.New(cloud)
}

// speak calls f with the client of a command, and adds to an error what would help.
func speak(cmd *cobra.Command, f func(context.Context, Config, *client.Client) error) error {
	c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	api, err := connect(cmd, c)
	if err != nil {
		return err
	}
	err = f(cmd.Context(), c, api)
	var fault client.Fault
	if errors.As(err, &fault) && fault.Status == http.StatusUnauthorized && api.Cloud().AuthType == "none" {
		return fmt.Errorf("%w\nNo credentials are at hand: name a cloud of clouds.yaml (--os-cloud or OS_CLOUD), or set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME%s",
			err, otherClouds(c))
	}
	return err
}

// otherClouds names the clouds that could be named, and the files that could not be read.
func otherClouds(c Config) string {
	_, err := client.FindCloud(client.DefaultFiles(os.Getenv, c.StateDir), ownCloud, os.Getenv)
	if err == nil {
		return ""
	}
	return fmt.Sprintf("\n(%v)", err)
}
