// Verifies tokens with github.com/coreos/go-oidc as a relying party does: one JSON
// object {issuer, audience, token} a line comes in, one {subject} or {refusal} goes out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
)

type question struct {
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	Token    string `json:"token"`
}

type answer struct {
	Subject string `json:"subject,omitempty"`
	Refusal string `json:"refusal,omitempty"`
}

func verify(ctx context.Context, asked question) answer {
	provider, err := oidc.NewProvider(ctx, asked.Issuer)
	if err != nil {
		return answer{Refusal: "discovery: " + err.Error()}
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: asked.Audience}).Verify(ctx, asked.Token)
	if err != nil {
		return answer{Refusal: err.Error()}
	}
	return answer{Subject: token.Subject}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		if err := out.Encode(verify(context.Background(), asked)); err != nil {
			panic(err)
		}
	}
}
