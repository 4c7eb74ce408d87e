package message

import (
	"mime"
	"strconv"
	"strings"
)

// maxParams bounds the parameters of a field that are read where the standard library does not read them.
const maxParams = 100

// parseParams reads `value; name=value`. What is malformed is read leniently, parameter by parameter.
func parseParams(s string) (string, map[string]string) {
	value, params, err := mime.ParseMediaType(s)
	if err != nil {
		var rest string
		value, rest, _ = strings.Cut(s, ";")
		value, params = strings.ToLower(strings.TrimSpace(value)), looseParams(rest)
	}
	if strings.Contains(s, "*") {
		addForeign(params, s)
	}
	return value, params
}

// looseParams reads what stands behind the value; of several with one name the first counts.
func looseParams(rest string) map[string]string {
	params := map[string]string{}
	for rest != "" && len(params) < maxParams {
		var param string
		param, rest = cutParam(rest)
		k, v, ok := strings.Cut(param, "=")
		k = strings.ToLower(strings.TrimSpace(k))
		if _, twice := params[k]; ok && !twice && k != "" {
			params[k] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return params
}

// cutParam splits at the next semicolon that is not quoted.
func cutParam(s string) (param, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// addForeign reads the parameters that are percent-encoded in another charset than UTF-8 (RFC 2231 §4). The standard library
// leaves them out, or keeps pieces of them.
func addForeign(params map[string]string, s string) {
	_, rest, _ := strings.Cut(s, ";")
	pieces := looseParams(rest)
	for key, first := range pieces {
		name, isWhole := strings.CutSuffix(key, "*")
		name, isFirst := strings.CutSuffix(name, "*0")
		charset, _, ok := strings.Cut(first, "'")
		if !isWhole || strings.Contains(name, "*") || !ok || isUTF8Charset(charset) {
			continue
		}
		_, first, _ = strings.Cut(first[len(charset)+1:], "'")
		octets := unescapePercent(first)
		if isFirst {
			octets += furtherPieces(pieces, name)
		}
		if enc := encodingOf(charset); enc != nil {
			octets, _ = enc.NewDecoder().String(octets)
		}
		params[name] = octets
	}
}

// isUTF8Charset reports what the standard library reads.
func isUTF8Charset(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii")
}

// furtherPieces puts the pieces from 1 on together (RFC 2231 §3).
func furtherPieces(pieces map[string]string, name string) string {
	var b strings.Builder
	for n := 1; n < maxParams; n++ {
		key := name + "*" + strconv.Itoa(n)
		encoded, isEncoded := pieces[key+"*"]
		literal, isLiteral := pieces[key]
		switch {
		case isEncoded:
			b.WriteString(unescapePercent(encoded))
		case isLiteral:
			b.WriteString(literal)
		default:
			return b.String()
		}
	}
	return b.String()
}

// unescapePercent leaves what is no escape as it is.
func unescapePercent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, ok1 := unhex(s[i+1])
			low, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b.WriteByte(high<<4 | low)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
