"""Answers judged by a language model, or by people: pairs, scores, ratings, and how far judges agree."""

from groundup.evaluation.judge.matches import Ask, PairVerdict, judge_pair, judge_relative, judge_single
from groundup.evaluation.judge.questions import Answers, Question, read_answers, read_questions

__all__ = ["Answers", "Ask", "PairVerdict", "Question", "judge_pair", "judge_relative", "judge_single", "read_answers", "read_questions"]
