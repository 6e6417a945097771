/** Tokens of a kernel `print fmt:` line, which is C source: `"fmt" "more", REC->a, __print_flags(REC->b, "|", {1, "x"})`. */
export type Token =
  | { readonly kind: 'id' | 'op'; readonly text: string }
  | { readonly kind: 'str'; readonly text: string }
  | {
      readonly kind: 'num';
      readonly text: string;
      readonly value: bigint;
      readonly suffix: string;
      readonly hex: boolean;
    };

const OPERATORS = ['->', '<<', '>>', '<=', '>=', '==', '!=', '&&', '||'];
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' };

/** Undoes the escapes of a C string or character literal (the text between the quotes). */
export function unescapeC(text: string): string {
  return text.replace(/\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|[\s\S])/g, (_, code: string) => {
    if (code.length > 1 && code.startsWith('x')) return String.fromCharCode(parseInt(code.slice(1), 16));
    if (/^[0-7]/.test(code)) return String.fromCharCode(parseInt(code, 8) & 0xff);
    return ESCAPES[code] ?? code;
  });
}

function numberToken(text: string): Token {
  const parts = /^(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)$/.exec(text);
  if (!parts) return { kind: 'op', text };
  const digits = parts[1]!;
  const hex = /^0[xX]/.test(digits);
  const octal = !hex && digits.length > 1 && /^0[0-7]+$/.test(digits);
  const value = BigInt(octal ? `0o${digits.slice(1)}` : digits);
  return { kind: 'num', text, value, suffix: parts[2]!.toLowerCase(), hex: hex || octal };
}

/** Splits C source into tokens; a character that C does not know becomes an operator of its own, which no rule accepts. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  const pattern = /\s+|"((?:[^"\\]|\\[\s\S])*)"|'((?:[^'\\]|\\[\s\S])+)'|([A-Za-z_$][\w$]*)|(\d[\w]*)|([\s\S])/g;
  for (let match = pattern.exec(source); match; match = pattern.exec(source)) {
    const [, str, char, id, num, other] = match;
    if (str !== undefined) tokens.push({ kind: 'str', text: unescapeC(str) });
    else if (char !== undefined) {
      const value = BigInt(unescapeC(char).charCodeAt(0));
      tokens.push({ kind: 'num', text: char, value, suffix: '', hex: false });
    } else if (id !== undefined) tokens.push({ kind: 'id', text: id });
    else if (num !== undefined) tokens.push(numberToken(num));
    else if (other !== undefined) {
      const two = source.slice(match.index, match.index + 2);
      if (OPERATORS.includes(two)) {
        tokens.push({ kind: 'op', text: two });
        pattern.lastIndex = match.index + 2;
      } else tokens.push({ kind: 'op', text: other });
    }
  }
  return tokens;
}
