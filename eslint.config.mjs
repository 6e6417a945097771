import tseslint from 'typescript-eslint';

/** Rooms from the top of the house to the bottom: a room may import from itself and from rooms below it only. */
const ROOMS = ['cli', 'report', 'replay', 'store', 'simulate', 'parse', 'base'];

/** Beside the house's main way: the simulator is started by the command line, and nobody else may know of it. */
const SIMULATOR_USERS = ['cli', 'simulate'];

const roomBorders = ROOMS.map((room, index) => {
  const above = ROOMS.slice(0, index);
  return {
    files: [`src/${room}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            ...above.map((name) => ({
              group: [`**/${name}/*`, `**/${name}/**`],
              message: `${room} lies below ${name}: imports go downwards only (docs/architecture.md).`,
            })),
            ...(SIMULATOR_USERS.includes(room) || above.includes('simulate')
              ? []
              : [
                  {
                    group: ['**/simulate/*', '**/simulate/**'],
                    message: 'Only the command line starts the simulator: what it writes must be read as any trace is.',
                  },
                ]),
            ...(room === 'store'
              ? []
              : [{ group: ['@duckdb/*'], message: 'DuckDB is seen by src/store only (docs/architecture.md).' }]),
          ],
        },
      ],
    },
  };
});

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/', 'fixtures/'] },
  ...tseslint.configs.recommendedTypeChecked.map((c) => ({ ...c, files: ['src/**/*.ts', 'test/**/*.ts'] })),
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    languageOptions: { parserOptions: { project: './tsconfig.check.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'max-lines': ['error', { max: 600, skipBlankLines: true, skipComments: true }],
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'Use an `as const` object and a union.' },
      ],
      'no-console': 'error',
    },
  },
  ...roomBorders,
);
