package client

import (
	"net/http"
	"net/http/httputil"
	"strconv"
)

// lastHop says whether a request goes no further than here, by its Max-Forwards, which it
// counts down (RFC 9110, Section 7.6.2).
func lastHop(r *http.Request) bool {
	if r.Method != http.MethodTrace && r.Method != http.MethodOptions {
		return false
	}
	left, err := strconv.ParseUint(r.Header.Get("Max-Forwards"), 10, 64)
	if err != nil {
		return false // there is none, or it says nothing
	}
	if left > 0 {
		r.Header.Set("Max-Forwards", strconv.FormatUint(left-1, 10))
	}
	return left == 0
}

// answerLastHop answers a request that is for the proxy by its Max-Forwards: a TRACE with
// what came, but for secrets (RFC 9110, Section 9.3.8).
func answerLastHop(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodTrace {
		return // that it is here is all that is to be said
	}
	for _, secret := range []string{"Proxy-Authorization", "Authorization", "Cookie"} {
		r.Header.Del(secret)
	}
	came, err := httputil.DumpRequest(r, false)
	if err != nil {
		http.Error(rw, "mpsocks: "+err.Error(), http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "message/http")
	_, _ = rw.Write(came)
}

// asAnswered passes an origin's answer on as it came: net/http would guess a type for a
// body that has none. 100 is said by net/http itself, when the proxy begins to read the body,
// which is behind the origin's.
type asAnswered struct{ http.ResponseWriter }

func (a asAnswered) WriteHeader(code int) {
	if code == http.StatusContinue {
		return
	}
	if _, ok := a.Header()["Content-Type"]; !ok && code >= http.StatusOK {
		a.Header()["Content-Type"] = nil
	}
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (a asAnswered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
