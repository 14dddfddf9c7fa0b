// Goes through the OIDC API with github.com/vultr/govultr, whose base address alone is changed: prints
// what it saw as one JSON object.
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/vultr/govultr/v3"
	"golang.org/x/oauth2"
)

type seen struct {
	Created  *govultr.OIDCProvider  `json:"created"`
	Shown    *govultr.OIDCProvider  `json:"shown"`
	Listed   []govultr.OIDCProvider `json:"listed"`
	Document *govultr.OIDCDocument  `json:"document"`
	Issuer   *govultr.OIDCIssuer    `json:"issuer"`
	Issuers  []govultr.OIDCIssuer   `json:"issuers"`
	Own      *govultr.OIDCIssuer    `json:"own"`
	Refused  string                 `json:"refused"`
	Gone     string                 `json:"gone"`
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	ctx := context.Background()
	token := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: os.Getenv("VULTR_API_KEY")})
	client := govultr.NewClient(oauth2.NewClient(ctx, token))
	if err := client.SetBaseURL(os.Args[1]); err != nil {
		panic(err)
	}
	client.SetRetryLimit(0)
	api := client.OIDC
	var out seen
	var err error
	out.Created, _, err = api.CreateOIDCProvider(ctx, &govultr.OIDCProviderReq{Name: "go"})
	must(0, err)
	out.Shown, _, err = api.GetOIDCProvider(ctx, out.Created.ID)
	must(0, err)
	out.Listed, _, err = api.ListOIDCProviders(ctx)
	must(0, err)
	out.Document, _, err = api.DiscoveryOIDC(ctx, out.Created.ID)
	must(0, err)
	detail := govultr.OIDCIssuerReqDetail{
		Source: "external", SourceID: out.Created.ID, URI: "https://idp.example.com",
		KID: "k1", KTY: "RSA", N: os.Args[2], E: "AQAB", ALG: "RS256", USE: "sig",
	}
	out.Issuer, _, err = api.CreateOIDCIssuer(ctx, &govultr.OIDCIssuerReq{Issuer: detail})
	must(0, err)
	out.Issuer, _, err = api.GetOIDCIssuer(ctx, out.Issuer.ID)
	must(0, err)
	out.Own, _, err = api.GetOIDCIssuer(ctx, out.Created.IssuerID)
	must(0, err)
	out.Issuers, _, err = api.ListOIDCIssuers(ctx)
	must(0, err)
	if err = api.DeleteOIDCIssuer(ctx, out.Created.IssuerID); err != nil {
		out.Refused = err.Error()
	}
	must(0, api.DeleteOIDCIssuer(ctx, out.Issuer.ID))
	must(0, api.DeleteOIDCProvider(ctx, out.Created.ID))
	if _, _, err = api.GetOIDCProvider(ctx, out.Created.ID); err != nil {
		out.Gone = err.Error()
	}
	must(0, json.NewEncoder(os.Stdout).Encode(out))
}
