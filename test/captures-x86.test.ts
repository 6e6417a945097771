import { holdCaptures } from './support/hold-captures.js';

holdCaptures('x86-');
