import { holdCaptures } from './support/hold-captures.js';

holdCaptures('pkvm-');
