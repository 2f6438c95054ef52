# What experiments/README.md shows. One stamp per data set and study, written when it is finished, so that an
# interrupted make goes on where it was; `make -k` goes on after a study that failed. Output: runs/results.
.PHONY: experiments-watch experiments-short experiments-simulated experiments-folds experiments-recipe experiments-rivals fuzz
# Studies of one data set share models; and a finished data set is no intermediate file.
.NOTPARALLEL:
.SECONDARY:

STAMPS := runs/stamps
BUILD := $(BIN)/cpmn-build-records --overwrite
RUN := $(BIN)/python -m experiments.run
SHORTENED := --flagfile=experiments/shortened.flags
SMALL := --flagfile=experiments/small.flags
# For studies of the cascade by itself.
ALONE := --set=pyramid.levels=0 --set=localization.attention=false
# Timelines of the simulation; with ANNOTATIONS= they are drawn from THUMOS14's statistics.
ANNOTATIONS := ../shared/data/thumos14/thumos14.json
SIMULATED := --source=simulated $(if $(ANNOTATIONS),--annotations=$(ANNOTATIONS))
comma := ,
STAMP = @mkdir -p $(@D) && touch $@

WATCH := table3 fig4_fig6 fig5_threshold fig5_sampling third_classifier why_mining second_classifier options more_options training_options
ON_SIMULATION := table3 fig4_fig6 fig5_threshold fig5_sampling normalization third_classifier options table1
# Simulations of other difficulties, and one class or three to five in each video of drawn timelines.
SIMULATIONS := $(addprefix simulated_,easier harder sceneless single several)
FOLDS := 05 16 27 38 49
RIVALS_ON := watch short simulated_single simulated_several
RECIPE := $(foreach fold,12 34 56,watch_$(fold) short_$(fold)) $(foreach fold,05 27,single_$(fold) several_$(fold))
define NEWLINE


endef
BFLOAT16 := --precision=mixed_bfloat16
# Flags of the studies on watch and short; --preset=watch where nothing is said.
FLAGS_rivals := --preset=watch $(BFLOAT16)
FLAGS_rivals_otherwise := $(FLAGS_rivals)
FLAGS_one_out := --preset=plus
FLAGS_second_classifier := --preset=watch $(ALONE)
# Seeds of the studies on watch and short; 5 where nothing is said.
SEEDS_more_options := 1
SEEDS_training_options := 1
SEEDS_rivals_otherwise := 1
SEEDS_one_out := 3

experiments-watch: $(WATCH:%=$(STAMPS)/watch/%) $(STAMPS)/watch_val/normalization
experiments-short: $(WATCH:%=$(STAMPS)/short/%)
experiments-simulated: $(ON_SIMULATION:%=$(STAMPS)/simulated/%) $(foreach name,easier harder,$(STAMPS)/simulated_$(name)/table3) \
	$(foreach name,simulated $(SIMULATIONS),$(STAMPS)/small_$(name)/why_mining) $(STAMPS)/small_simulated/second_classifier
experiments-folds: $(FOLDS:%=$(STAMPS)/folds/%)
	$(RUN) join --name=options --results=$(subst $() ,$(comma),$(FOLDS:%=runs/results/folds/%)) --output_dir=runs/results/folds

# What experiments/rivals.md shows.
experiments-rivals: $(RIVALS_ON:%=$(STAMPS)/%/rivals) $(foreach study,one_out rivals_otherwise,$(STAMPS)/watch/$(study) $(STAMPS)/short/$(study)) \
	$(STAMPS)/simulated_single/beside $(STAMPS)/simulated_several/beside

# What the preset plus was chosen by: folds of the training videos, two people each on watch and short.
experiments-recipe: $(RECIPE:%=$(STAMPS)/recipe/%)
	$(foreach kind,watch short single several,$(RUN) join --name=one_out --output_dir=runs/results/recipe_$(kind) \
		--results=$(subst $() ,$(comma),$(patsubst %,runs/results/recipe/%,$(filter $(kind)_%,$(RECIPE))))$(NEWLINE))

# Both protocols against plain loops: 50,000 drawn splits, of which the tests judge 1,000.
fuzz: $(VENV)/installed
	$(BIN)/python -m experiments.benchmarks.fuzz_protocols

$(STAMPS)/watch/records: | $(VENV)/installed
	$(BUILD) --source=watch --output_dir=runs/watch
	$(STAMP)
$(STAMPS)/short/records: | $(VENV)/installed
	$(BUILD) --source=watch --recipe=short --output_dir=runs/short
	$(STAMP)
$(STAMPS)/watch_val/records: | $(VENV)/installed
	$(BUILD) --source=watch --holdout='person0[56]_.*' --output_dir=runs/watch_val
	$(STAMP)
$(STAMPS)/simulated/records: | $(VENV)/installed
	$(BUILD) $(SIMULATED) --output_dir=runs/simulated
	$(STAMP)
$(STAMPS)/simulated_%/records: | $(VENV)/installed
	$(BUILD) $(SIMULATED) --difficulty=$* --output_dir=runs/simulated_$*
	$(STAMP)
$(STAMPS)/simulated_single/records: | $(VENV)/installed
	$(BUILD) --source=simulated --classes_per_video=1 --output_dir=runs/simulated_single
	$(STAMP)
$(STAMPS)/simulated_several/records: | $(VENV)/installed
	$(BUILD) --source=simulated --classes_per_video=3-5 --output_dir=runs/simulated_several
	$(STAMP)

$(STAMPS)/watch/%: $(STAMPS)/watch/records
	$(RUN) $* $(or $(FLAGS_$*),--preset=watch) --data_dir=runs/watch --output_dir=runs/results/watch --seeds=$(or $(SEEDS_$*),5)
	$(STAMP)
$(STAMPS)/short/%: $(STAMPS)/short/records
	$(RUN) $* $(or $(FLAGS_$*),--preset=watch) --data_dir=runs/short --output_dir=runs/results/short --seeds=$(or $(SEEDS_$*),5)
	$(STAMP)
# The pictures are of seed 0.
$(STAMPS)/watch/fig4_fig6 $(STAMPS)/short/fig4_fig6: $(STAMPS)/%/fig4_fig6: $(STAMPS)/%/records
	$(RUN) fig4_fig6 --preset=watch --data_dir=runs/$* --output_dir=runs/results/$*
	$(STAMP)
$(STAMPS)/watch_val/%: $(STAMPS)/watch_val/records
	$(RUN) $* --preset=watch --data_dir=runs/watch_val --split=validation --output_dir=runs/results/watch_val --seeds=3
	$(STAMP)
$(STAMPS)/simulated/%: $(STAMPS)/simulated/records
	$(RUN) $* $(SHORTENED) --data_dir=runs/simulated --output_dir=runs/results/simulated --seeds=3
	$(STAMP)
$(STAMPS)/simulated/fig4_fig6: $(STAMPS)/simulated/records
	$(RUN) fig4_fig6 $(SHORTENED) --data_dir=runs/simulated --output_dir=runs/results/simulated
	$(STAMP)
$(STAMPS)/simulated_%/table3: $(STAMPS)/simulated_%/records
	$(RUN) table3 $(SHORTENED) --data_dir=runs/simulated_$* --output_dir=runs/results/simulated_$* --seeds=3
	$(STAMP)
$(STAMPS)/small_%/why_mining: $(STAMPS)/%/records
	$(RUN) why_mining $(SMALL) --data_dir=runs/$* --output_dir=runs/results/small_$* --seeds=3
	$(STAMP)
$(STAMPS)/small_%/second_classifier: $(STAMPS)/%/records
	$(RUN) second_classifier $(SMALL) --data_dir=runs/$* --output_dir=runs/results/small_$* --seeds=3
	$(STAMP)
$(STAMPS)/simulated_%/rivals: $(STAMPS)/simulated_%/records
	$(RUN) rivals $(BFLOAT16) --data_dir=runs/simulated_$* --output_dir=runs/results/simulated_$* --seeds=3
	$(STAMP)
$(STAMPS)/simulated_single/beside: RIVAL := UntrimmedNet, hard
$(STAMPS)/simulated_several/beside: RIVAL := W-TALC
$(STAMPS)/simulated_%/beside: $(STAMPS)/simulated_%/records
	$(RUN) beside --rival='$(RIVAL)' --data_dir=runs/simulated_$* --output_dir=runs/results/simulated_$*
	$(STAMP)
# Folds of the training videos by the last digit of the id, one training each: what a default is chosen by.
$(STAMPS)/folds/%: | $(VENV)/installed
	$(BUILD) $(SIMULATED) --holdout='.*[$*]' --holdout_from=validation --holdout_to=held_out --output_dir=runs/folds/$*
	$(RUN) options $(SHORTENED) --data_dir=runs/folds/$* --output_dir=runs/results/folds/$* --split=held_out --seeds=1
	$(STAMP)
# KIND_FOLD: digits of two people, or last digits of ids.
KIND = $(firstword $(subst _, ,$*))
FOLD = $(lastword $(subst _, ,$*))
HELD_OUT_watch = --source=watch --holdout='person0[$(FOLD)]_.*'
HELD_OUT_short = --source=watch --recipe=short --holdout='person0[$(FOLD)]_.*'
HELD_OUT_single = --source=simulated --classes_per_video=1 --holdout='.*[$(FOLD)]' --holdout_from=validation
HELD_OUT_several = --source=simulated --classes_per_video=3-5 --holdout='.*[$(FOLD)]' --holdout_from=validation
FLAGS_single := $(FLAGS_one_out) --set=data.train_split=validation --set=data.test_split=test
FLAGS_several := $(FLAGS_single)
$(STAMPS)/recipe/%: | $(VENV)/installed
	$(BUILD) $(HELD_OUT_$(KIND)) --holdout_to=held_out --output_dir=runs/recipe/$*
	$(RUN) one_out $(or $(FLAGS_$(KIND)),$(FLAGS_one_out)) --data_dir=runs/recipe/$* --output_dir=runs/results/recipe/$* --split=held_out --seeds=1
	$(STAMP)
